"""Benchmarks, for asv and for ``python -m benchmarks``.

A module in ``suites`` asks one question, and the rival is a parameter of it. Sizes are
the last parameters, smallest first: the tests run every benchmark once, at the first.
"""
