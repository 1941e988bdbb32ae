"""Text to vectors: unpack the default model, choose what runs it, embed queries and passages.

In go texts; out come L2-normalised fp32 vectors, so that an inner product is a cosine. Backends:
ONNX Runtime (starts in a second) where the directory holds a model.onnx, else sentence-transformers
through llama-index-embeddings-huggingface.
"""
