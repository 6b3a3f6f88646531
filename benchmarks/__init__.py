"""Measurements. Each module with a `main` is a command, `python -m benchmarks.NAME`, that prints its results."""
