"""Measure any OpenAI-compatible server, and say whether the figures can be believed.

In: a URL (or what to start), a workload and a load. Out: a directory `runs/TIME-NAME/` with raw
timestamps of every request, metrics computed from them alone, a verdict (valid, not valid, not known) and a
report that can be read by someone who did not run it. Speaks HTTP; imports core only, but for the
measurements of retrieval (`scenarios/rag/answers`, `corpus`, `embedding`), which import rag.

From below: errors, records, processes, servers; load/ (what is asked, and the client), measure/ (a run, its
figures and verdict), report/, peers/ (what ours is compared with), scenarios/, tune/, cli/.
"""
