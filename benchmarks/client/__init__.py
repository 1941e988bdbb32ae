"""The load client: sends planned requests and stamps what comes back.

In: a plan.Shard. Out: records. The hot path stores (time, bytes) and nothing else; streams are taken
apart when they have ended, so that parsing one answer does not delay the stamps of another.
"""
