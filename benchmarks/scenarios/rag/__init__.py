"""What retrieval and answering cost: the scenarios `rag` and `retrieval`.

`answers` and `parts` import rag, alone of benchmarks; `stages` makes the report of `rag` from its run's
files.
"""
