"""python -m quantserve: the same as the command quantserve."""

from __future__ import annotations

from quantserve.command import main

if __name__ == "__main__":
    main()
