"""Several servers on one public port, replaced one by one without a failed request.

In goes what `serving serve` takes and a number of replicas; out comes the same API on the same port. One
supervisor process owns everything: the front, which chooses a replica for each request and hands its answer
on, and the replicas on loopback, each a whole `serving serve` with its own guard. docs/replicas.md.
"""
