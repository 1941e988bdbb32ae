"""The questions, each a program, as `registry` lists them.

Each measures cells into a run and adds its own sections to the report, computed from the run's files.
"""
