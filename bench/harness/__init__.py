"""The measured processes, and their gauges."""
