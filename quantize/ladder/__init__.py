"""The ladder: try methods from the cheapest to the costliest until one is good enough.

In: a base checkpoint and how much perplexity may rise. Out: artifacts made through `quantize.run` and
judged by the gate, one step after the other, and a choice with its reason. `decision.py` is pure, `steps.py`
does, `sensitivity.py` finds the layers that lose most.
"""
