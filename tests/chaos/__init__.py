"""Chaos: all processes at once, faults at random, and an independent checker of what everybody saw."""
