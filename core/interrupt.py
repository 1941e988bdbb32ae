"""Imported first by each program's __main__: Ctrl-C while it still imports is a line, too, not a traceback.

Python then ends the process by SIGINT itself, which shells show as 130. Once `core.console.run_app` runs,
that has the word.
"""

from __future__ import annotations

import sys
from types import TracebackType


def say_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replace the traceback of a Ctrl-C; any other error keeps its own."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted; nothing was started\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = say_one_line
