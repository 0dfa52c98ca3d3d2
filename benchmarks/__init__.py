"""Benchmarks, for asv and for ``python -m benchmarks``.

Each module in ``suites`` asks one question, and the rival is a parameter of it. Sizes are
the last parameters, smallest first: the tests run each benchmark once, at the smallest.
"""
