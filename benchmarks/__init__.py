"""Measure any OpenAI-compatible server, and say whether the figures can be believed.

In: a URL (or what to start), a workload and a load. Out: a directory `runs/TIME-NAME/` with raw
timestamps of every request, metrics computed from them alone, a verdict on the run's validity and a
report that can be read by someone who did not run it. Speaks HTTP; imports core only (`programs/rag`
also imports rag).
"""
