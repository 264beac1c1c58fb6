"""Fuzzers: each has a claim that no input may break, and draws inputs from a seed (`effort`)."""
