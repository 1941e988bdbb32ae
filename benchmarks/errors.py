"""What can go wrong in a benchmark, as opposed to what can fail in the measured server.

A request that fails is data (records.Failure), never an exception. These end a run:

    BenchmarkError (QuantserveError)
    ├── ServerUnusable     the server does not answer, or has no model
    │   └── ServerNotStarted     it did not become ready
    │       └── ServerTooLarge     memory or hardware does not suffice for it (exit code 6)
    ├── LoadWorkerFailed       a load process died
    ├── TargetMissed       a figure the project promises was not reached (exit code 1)
    ├── RegressionFound    `compare --fail-on` found one (exit code 1)
    ├── NotValid           everything is measured and written, and is not to be believed (exit code 7)
    └── NotKnown           the same, but whether it is to be believed is not known (exit code 8)
    BadOption (UsageError)
    BadRun (InputError)    a run directory or workload file cannot be read
"""

from __future__ import annotations

from quantserve.core.errors import InputError, QuantserveError, ResourceError, UsageError


class BenchmarkError(QuantserveError):
    """The measurement could not be made."""


class ServerUnusable(BenchmarkError):
    """The server does not answer as an OpenAI-compatible server."""


class ServerNotStarted(ServerUnusable):
    """The server could not be started."""


class ServerTooLarge(ServerNotStarted):
    """The machine lacks something that the server needs."""

    exit_code = ResourceError.exit_code


class LoadWorkerFailed(BenchmarkError):
    """A load process ended before its work did."""


class TargetMissed(BenchmarkError):
    """A figure the project promises was not reached."""


class RegressionFound(BenchmarkError):
    """A comparison crossed a limit the user set."""


class NotValid(BenchmarkError):
    """The figures are written, and something speaks against them."""

    exit_code = 7
    words = "not valid"


class NotKnown(BenchmarkError):
    """The figures are written, and whether something speaks against them is not known."""

    exit_code = 8
    words = "not known to be valid"


class BadOption(UsageError):
    """An option's value makes no sense."""


class BadRun(InputError):
    """A run directory, workload or trace file is missing or malformed."""
