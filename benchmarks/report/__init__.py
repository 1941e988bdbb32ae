"""A run's report: one HTML page, PNG plots and a Markdown summary; and whether one run is worse than another.

In: metrics computed by `measure.analysis`, the run's configuration and extra facts. Out: files in its
directory, tables on the terminal, a last line of JSON and an exit code.
"""
