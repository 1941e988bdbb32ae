"""One machine: makes the environments and runs the stages of `quantserve up`.

In: requirements/*.txt and the options. Out: .venvs/, then whatever each stage's program writes.
bootstrap.py, environments.py and install.py run before any environment exists, with the standard library
only.
"""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):  # older Pythons must still parse this file
    sys.exit(
        "quantserve: Python 3.11, 3.12 or 3.13 is needed, this is {}.{}. "
        "Install python3.11 (Debian 12: apt-get install python3.11 python3.11-venv) "
        "or name it: make PYTHON=/path/to/python3.11 …".format(*sys.version_info[:2])
    )
