"""Clients of other makers, a program each: `URL MODEL QUESTION`. It prints the texts that it got, as JSON."""
