"""Judging: figures beside limits, and the verdict with its reasons. Pure.

In: what was measured (`Findings`) and the limits of the model's class. Out: a verdict and every check.
Nothing here starts an engine or reads a file.
"""
