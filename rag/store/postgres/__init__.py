"""The shared store: generations in PostgreSQL with pgvector, for more than one machine.

    schema rag
        generations             number, manifest (JSON)
        current                 one row: the number of the generation that answers
        data_gen_000007         LlamaIndex's PGVectorStore: text, metadata, vector
        chunks_gen_000007       the chunks with their words, numbered like the vectors
        words_gen_000007        the files of the BM25 index, in pieces

A writer builds a generation in a local folder, as for the local store, copies it into new tables that
nobody reads yet, and moves `current` in one transaction on the connection that holds its advisory lock:
a writer that lost the lock cannot publish. The generation before stays for readers that have it open.
"""
