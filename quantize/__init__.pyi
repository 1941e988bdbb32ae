# What type checkers see of the lazy interface in __init__.py.
from quantserve.quantize.api import promote as promote
from quantserve.quantize.api import quantize as quantize
from quantserve.quantize.gate.run import gate_by_options

gate = gate_by_options
