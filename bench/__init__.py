"""Benchmarks that anyone can run: one module per question, on a harness that they share."""
