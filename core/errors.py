"""The root of every exception tree, and the exit codes of every command line.

    QuantserveError            1   something failed; the message says the mend
    ├── UsageError             2   an option or argument is wrong; nothing was started
    ├── InputError             2   a file or directory given by the user is unusable; nothing was changed
    └── ResourceError          6   memory, disk, port or hardware does not suffice; nothing was started

Packages derive their own errors from these four. Codes 3, 4 and 5 belong to the quality gate
(REGRESSION, ANOMALOUS, INFEASIBLE), 7 and 8 to benchmarks whose figures are not valid, or not known to be;
130 is Ctrl-C, as in every shell.
"""

from __future__ import annotations

EXIT_INTERRUPTED = 130


class QuantserveError(Exception):
    """An expected failure. Its message is one line a user can act on."""

    exit_code = 1

    def __init__(self, problem: str, *, mend: str = "") -> None:
        """`problem` says what is wrong, `mend` what to do about it."""
        super().__init__(f"{problem}. {mend}".rstrip() if mend else problem)
        self.problem = problem
        self.mend = mend


class UsageError(QuantserveError):
    """The command line or a configuration value is wrong."""

    exit_code = 2


class InputError(QuantserveError):
    """A file or directory the user named cannot be used."""

    exit_code = 2


class ResourceError(QuantserveError):
    """The machine lacks something the work needs."""

    exit_code = 6
