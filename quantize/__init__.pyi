# What type checkers see of the lazy interface in __init__.py.
from quantize.api import gate as gate
from quantize.api import promote as promote
from quantize.api import quantize as quantize
