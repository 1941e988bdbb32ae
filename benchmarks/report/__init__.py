"""A run's report: one HTML file that needs nothing else, PNG plots, and a Markdown summary.

In: metrics computed by `analyse`, the run's configuration and extra facts. Out: files in its directory.
"""
