"""The costs of readalong, measured against other ways in one run on one machine: `python -m bench` (see README.md)."""
