"""The heavy work runs in a child process with the environment that this machine needs.

In: a job as JSON on the child's stdin. Out: progress and a result as JSON lines on a pipe, everything
the libraries print in run/quantize.log, and the child's peak memory. The child dies with its parent.
"""
