"""One thin module per command of `quantserve rag`; heavy libraries load inside the functions."""
