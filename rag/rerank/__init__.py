"""Rerank the best passages by a model that reads question and passage together.

In go a question and texts; out comes one score for each, higher is better. A cross-encoder runs here
(sentence-transformers) or behind a server's /v1/rerank. Both work in batches against a deadline: when
it passes, the order from before stands and the search says so.
"""
