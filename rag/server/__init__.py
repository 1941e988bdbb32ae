"""The HTTP face of retrieval: an OpenAI-compatible API, documents, search, metrics and a web page.

In goes a question in OpenAI's chat format, or a file; out comes an answer with its sources, or a job that
indexes the file in a process of its own. Any OpenAI client is a client: what OpenAI has no field for stands
under `quantserve` (docs/rag-server.md).
"""
