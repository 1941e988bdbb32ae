"""One thin module per command of `python -m serving`."""
