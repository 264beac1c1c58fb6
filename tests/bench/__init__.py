"""Tests of the benchmark: that it runs, not what it finds."""
