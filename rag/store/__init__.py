"""The index: generations that appear whole or not at all. Locally:

    run/index/gen-000007/  vectors.faiss  words/  chunks.db  manifest.json (last)
    run/index/current      symlink to the generation that answers

Vectors, words and chunks of a generation share row numbers. A writer builds a new generation aside
and moves `current` by one rename; the generation before stays for readers that still have it open.
The shared store (rag.store.postgres) keeps the same promises in PostgreSQL; rag.store.base chooses.
"""
