"""Fuzzers: each has a claim that must hold for any input, and draws inputs from a seed (`effort`)."""
