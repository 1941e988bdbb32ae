"""Base checkpoints: unpacked, downloaded or given, and checked before anything works on them.

In: nothing (the default model), a directory, or a hub id. Out: a directory of safetensors, tokenizer and
chat template that `checks.check_checkpoint` has accepted. Checking reads headers only and needs no torch.
"""
