"""Several servers behind vllm-router on one public port, replaced one by one without a failed request.

In goes what `serving serve` takes and a number of replicas; out comes the same API on the same port. One
supervisor process owns everything: the front (public port, allow-list), the router (loopback) and the
replicas (loopback), each of them a whole `quantserve serving serve` with its own guard. docs/replicas.md.
"""
