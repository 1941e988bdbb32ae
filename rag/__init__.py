"""Answers from documents: load, split, embed, index, retrieve, and ask a model for a cited answer.

In go files and questions; out come an index of generations (run/index) and answers whose
citations point to a file and page. Knows a URL of an OpenAI-compatible server and imports core only.
"""
