"""On PYTHONPATH this stands for the package being absent, as it is where vLLM alone is installed."""

raise ImportError("not one of vLLM's dependencies")
