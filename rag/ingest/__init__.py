"""Documents to a new generation: find what changed, read, split, embed what is new, and publish.

In go paths and web addresses; out comes a whole new generation of the index and a report. An unchanged
document keeps its chunks and vectors; a changed one's unchanged passages keep their vectors; a deleted
one leaves no trace. When nothing changed no model is loaded. Memory does not grow with the documents'
size: chunks and vectors pass through files of the new generation.
"""

from quantserve.rag.ingest.report import IndexReport, Listener
from quantserve.rag.ingest.run import index_paths, remove_documents

__all__ = ["IndexReport", "Listener", "index_paths", "remove_documents"]
