"""The benchmarks themselves, for asv: one module for every question."""
