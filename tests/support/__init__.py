"""Servers, processes and clients for tests and benchmarks."""
