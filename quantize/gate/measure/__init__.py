"""Measuring: engines started as they would be deployed, asked over HTTP, and what they said as figures.

In: a base, a candidate, and what to ask. Out: log-probabilities, answers, speeds and costs of both, or the
failure that is the candidate's.
"""
