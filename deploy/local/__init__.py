"""One machine: makes the environments and runs the stages of `make up`.

In: requirements/*.txt and the make variables. Out: .venvs/, then whatever each stage's program writes.
Runs before any environment exists, so it uses the standard library only.
"""

import sys

if sys.version_info[:2] != (3, 11):  # the pins are compiled for 3.11; older Pythons must still parse this
    sys.exit(
        "quantserve: Python 3.11 is needed, this is {}.{}. "
        "Install python3.11 (Debian 12: apt-get install python3.11 python3.11-venv) "
        "or name it: make PYTHON=/path/to/python3.11 …".format(*sys.version_info[:2])
    )
