"""Tests: the modules one by one, then the whole of it with real processes."""
