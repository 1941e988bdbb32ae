"""Sections to chunks: by sentence (sizes in tokens) or recursively by characters.

In goes a section, out come chunks of a bounded size with their file, page, heading and span of
characters. LlamaIndex's SentenceSplitter packs; what it packs, so that tables, code and Korean
sentences stay whole where they fit, is ours (rag/split/units.py).
"""
