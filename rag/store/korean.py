"""The one Kiwi instance of a process: Korean morphology, loaded when first needed (about two seconds)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiwipiepy import Kiwi


@functools.cache
def kiwi() -> Kiwi:
    """Return Kiwi without its dictionary of multi-word names, which doubles the loading time."""
    from kiwipiepy import Kiwi

    return Kiwi(load_multi_dict=False, load_typo_dict=False)
