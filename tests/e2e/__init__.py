"""End to end: real API, worker, model and Redis processes, over real sockets and signals."""
