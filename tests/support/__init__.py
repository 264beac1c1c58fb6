"""What tests and benchmarks need around them: servers, processes, clients."""
