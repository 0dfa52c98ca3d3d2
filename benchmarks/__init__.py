"""Benchmarks, for asv and for ``python -m benchmarks``: one file asks one question, and the rival is a parameter.

Sizes stand last and smallest first among a benchmark's parameters; the tests run each
benchmark once, at the smallest.
"""
