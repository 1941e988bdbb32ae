"""The commands of `quantserve benchmarks`; what takes a while to import is imported inside them."""
