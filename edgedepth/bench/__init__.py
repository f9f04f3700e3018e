"""Benchmarks: contenders in processes of their own, timed in turn, and runs compared."""
