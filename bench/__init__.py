"""What readalong costs, measured against others in one run on one machine: `python -m bench` (see README.md)."""
