"""tools.profile: a recording on accelerator models: traces, costs, the host's energy, and a page with charts."""
