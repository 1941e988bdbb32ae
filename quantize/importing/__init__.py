"""A quantized checkpoint made elsewhere becomes an artifact, its weights as they are.

In: a directory by AutoGPTQ, AutoAWQ, GPTQModel, llm-compressor or another writer of compressed-tensors.
Out: artifacts/NAME/VERSION with hard links to its files and a manifest that says null for the unknown.
What the engine would refuse is refused, and what can be converted is converted on request.
"""
