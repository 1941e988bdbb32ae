"""The command line: what people type, what they see, and the last line of JSON that programs read.

In: words. Out: calls of the other folders with the option dataclasses, whose fields the options are made of
(`options.py`); a table or a line on standard error; one JSON object on standard output.
"""
