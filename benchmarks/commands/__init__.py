"""One thin module per command of `python -m benchmarks`; heavy libraries load inside the functions."""
