"""tools.bench: benchmarks, each a function that returns frozen dataclasses; the command line prints them."""
