"""A file of requests answered by a server, in the OpenAI batch format, resumable at any time.

In goes a JSON-lines file (custom_id, method, url, body); out comes one with a line for each
of its lines: the response, or an error. What is in the output already is not asked again.
"""
