"""Proof that an artifact's weights are right, before it is called made.

In: the base checkpoint, the artifact as written, and the scales that moved. Out: figures, or a refusal. What
was written is dequantized by code of its own and run beside the base in float32; two relative bounds decide,
since no absolute one separates right from wrong.
"""

TOKENS = 256
"""Of the evaluation text, that base and artifact are run on."""
