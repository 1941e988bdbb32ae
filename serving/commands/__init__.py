"""One thin module per command of `quantserve serving`."""
