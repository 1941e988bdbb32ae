"""Text that a method calibrates on, and text kept apart from it for evaluation.

In: the built-in text, or the user's text and JSONL files. Out: packed token sequences with a hash of
what was used, so that the manifest can say it. Nothing is ever calibrated on too little in silence.
"""
