"""What can be done with finished artifacts: list, compare, check, promote, clear away, exchange with a hub.

In: artifacts/NAME/VERSION directories. Out: the `current` and `previous` links, tables for people, JSON for
programs, and copies elsewhere (a folder, a tar file, a hub repository). Nothing here loads a model.
"""

from quantserve.quantize.lifecycle.places import (
    Entry,
    NotAccepted,
    describe,
    find_artifacts,
    promote,
    require_accepted,
    resolve,
)

__all__ = [
    "Entry",
    "NotAccepted",
    "describe",
    "find_artifacts",
    "promote",
    "require_accepted",
    "resolve",
]
