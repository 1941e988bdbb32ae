"""One thin module per command of `python -m rag`; heavy libraries load inside the functions."""
