"""Sections to chunks by LlamaIndex's sentence splitter, with sentences and tokens as we count them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, MetadataMode, TextNode

from rag.config import SplitConfig
from rag.loaders.document import LoadedDocument
from rag.store.chunks import Chunk
from rag.text import split_sentences

Tokenize = Callable[[str], Sequence[object]]
_MAX_HEADING = 120
_HEADING, _PAGE, _START = "heading", "page", "section_start"


def to_llama_documents(document: LoadedDocument, file: str) -> list[Document]:
    """Return one LlamaIndex document per section; only the heading is embedded beside the text."""
    return [
        Document(
            text=section.text,
            metadata={
                "file": file,
                _HEADING: section.heading[-_MAX_HEADING:],
                _PAGE: section.page,
                _START: section.start,
            },
            excluded_embed_metadata_keys=["file", _PAGE, _START, *([] if section.heading else [_HEADING])],
            excluded_llm_metadata_keys=["file", _PAGE, _START, *([] if section.heading else [_HEADING])],
            metadata_template="{value}",
            text_template="{metadata_str}\n{content}",
        )
        for section in document.sections
        if section.text.strip()
    ]


def split_document(
    document: LoadedDocument, path: Path, file: str, config: SplitConfig, tokenize: Tokenize
) -> list[Chunk]:
    """Cut a document into chunks of at most `chunk_tokens` that end at sentences where they can."""
    splitter = SentenceSplitter(
        chunk_size=config.chunk_tokens,
        chunk_overlap=config.overlap_tokens,
        tokenizer=lambda text: list(tokenize(text)),
        chunking_tokenizer_fn=split_sentences,
        paragraph_separator="\n\n",
    )
    chunks: list[Chunk] = []
    for node in splitter.get_nodes_from_documents(to_llama_documents(document, file)):
        if not isinstance(node, TextNode) or not node.text.strip():
            continue
        start = int(node.metadata[_START]) + (node.start_char_idx or 0)
        heading, page = str(node.metadata[_HEADING]), node.metadata[_PAGE]
        key = hashlib.sha256(f"{path}\0{page}\0{start}\0{heading}\0{node.text}".encode()).hexdigest()[:16]
        embedded = node.get_content(MetadataMode.EMBED)
        chunks.append(
            Chunk(key, str(path), file, page, heading, start, start + len(node.text), node.text, embedded)
        )
    return chunks
