"""Text to vectors: unpack the default model, choose what runs it, embed queries and passages.

In go texts; out come L2-normalised fp32 vectors, so that an inner product is a cosine. Backends:
ONNX Runtime in fp32 or int8 where the directory holds a model.onnx, measured once on each machine in
child processes; sentence-transformers through llama-index-embeddings-huggingface; or a server's
/v1/embeddings. An index is asked by the backend's precision it was made with.
"""
