"""What retrieval and answering cost: the scenarios `rag` and `retrieval`.

`answers`, `corpus` and `embedding` import rag, alone of benchmarks; the latter two run in processes of their
own, whose memory is measured. `stages` makes the report of `rag` from its run's files.
"""
