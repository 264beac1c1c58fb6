"""Tests of the benchmark: its function, not its figures."""
