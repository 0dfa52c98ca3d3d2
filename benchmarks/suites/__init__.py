"""The benchmarks themselves, for asv: one module for each question."""
