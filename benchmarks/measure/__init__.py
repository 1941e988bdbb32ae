"""Measuring: cells into a run, what the machine did meanwhile, figures from raw records, and the verdict.

In: a server, a workload and a load. Out: a run directory whose raw files say everything again at any time;
`metrics`, `validity` and `analysis` compute figures and verdict from them and from nothing else.
"""
