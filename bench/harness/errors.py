"""The one error of a run."""


class BenchError(Exception):
    """A process did not start, or a measurement did not see its expected data."""
