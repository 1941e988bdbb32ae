"""Dequantize a checkpoint in a process of its own, since it needs torch.

python -m quantserve.quantize.importing SOURCE OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path

from quantserve.quantize.importing.dequantize import dequantize_checkpoint

if __name__ == "__main__":
    dequantize_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
