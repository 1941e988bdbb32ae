"""The ladder: try methods from the cheapest to the costliest until one is good enough.

In: a base checkpoint and how much perplexity may rise. Out: artifacts made through `quantize.run` and
judged by the gate, one step after the other, and a choice with its reason. `candidates`, `decide` and
`targets` are pure; `climb` does; `sensitivity` finds the layers that lose most.
"""
