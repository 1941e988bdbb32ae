"""One thin module per command of `quantserve benchmarks`; heavy libraries load inside the functions."""
