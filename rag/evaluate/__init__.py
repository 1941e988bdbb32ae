"""How well questions find their passages, and how true the answers are.

In go a question file (samples/questions.jsonl is one) and an index; out come hit rate, recall, MRR
and nDCG by mode with confidence intervals, faithfulness and citation precision, a report, and
the limits that answering goes by (rag.trust). Needs no server unless answers are judged.
"""
