"""The questions, each a program: batching, latency, quant, features, rag, peers.

Each measures cells into a run and adds its own sections to the report, computed from the run's files.
"""
