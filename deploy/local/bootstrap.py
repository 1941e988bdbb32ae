"""The first step on a bare machine: makes the base environment, then runs its `quantserve`.

    python3.11 -m quantserve.deploy.local.bootstrap up --model …       in the checkout's folder

Standard library only. An environment that is up to date is found so in some 60 ms.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from quantserve.core.errors import EXIT_INTERRUPTED, QuantserveError, ResourceError
from quantserve.core.files import exclusive_lock
from quantserve.core.home import environments
from quantserve.deploy.local.environments import BASE
from quantserve.deploy.local.install import bootstrap_uv, install


def make_base() -> None:
    """Make the base environment where it is not up to date.

    Raises:
        ResourceError: this Python cannot make environments.
        SetupError: an installation failed.
    """
    if BASE.up_to_date():
        return
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise ResourceError(
            "Python's venv module is missing",
            mend="Debian: apt-get install python3.11-venv, then run it again",
        )
    environments().mkdir(parents=True, exist_ok=True)
    with exclusive_lock(environments() / ".lock", "quantserve setup"):
        install(bootstrap_uv(), BASE)


def main() -> None:
    """Make the base environment and become the command `quantserve`."""
    try:
        make_base()
    except QuantserveError as error:
        sys.stderr.write(f"quantserve: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("quantserve: interrupted; run it again to go on where it stopped\n")
        sys.exit(EXIT_INTERRUPTED)
    command = BASE.path / "bin" / "quantserve"
    os.execv(command, [str(command), *sys.argv[1:]])


if __name__ == "__main__":
    main()
