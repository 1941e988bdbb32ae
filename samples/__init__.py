"""The documents users index first and retrieval is measured on.

`documents/` holds the documents (Markdown, text, CSV, HTML, PDF), `questions.jsonl` the questions on them,
`sources/` the Markdown the PDFs are built from. Everything is our own writing, under the project's licence.
"""
