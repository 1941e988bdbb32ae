"""Run a model in vLLM at the best this machine can do, explain every choice, and never leave a mess.

In goes a directory: an artifact with its manifest, or a plain checkpoint. Out comes an OpenAI-compatible
HTTP server that has proved itself by decoding a token, and a plan that says why each flag is what it is.
Imports core and quantize.artifact only.
"""
