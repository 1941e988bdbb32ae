"""What the supervisor says into its log."""

from __future__ import annotations

import sys

from quantserve.core.console import console


def say(text: str) -> None:
    """Write one line."""
    console.print(text, markup=False, soft_wrap=True)
    sys.stderr.flush()
