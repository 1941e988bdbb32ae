"""What can be done with artifacts: list, compare, check, promote, clear away, exchange with a hub, import.

In: artifacts/NAME/VERSION directories. Out: the `current` and `previous` links, tables for people, JSON for
programs, and copies elsewhere (a folder, a tar file, a hub repository). Nothing here runs a model.
"""
