"""tools: what people start: the command line and the benchmarks."""
