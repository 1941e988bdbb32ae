"""What every package shares: safe files, the exception tree's root, and console output.

Imports none of our other packages and nothing outside the standard library, pydantic, rich and
typer, so that each can run and be tested without the others.
"""
