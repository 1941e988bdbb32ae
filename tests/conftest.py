"""What every test shares."""

from __future__ import annotations

import os

# Tests start our programs many times; let the first start keep its bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
