"""What is asked and when, and the client that asks: workloads, arrivals, load processes, fault injection.

In: a workload and a load as texts, and a seed; the same seed makes the same requests. Out: records. The hot
path stores (time, bytes) and nothing else; streams are taken apart when they have ended, so that parsing
one answer does not delay the stamps of another.
"""
