"""What every package shares: safe files, bounded readers of foreign files, exceptions, and console output.

Imports none of our other packages and nothing outside the standard library, pydantic, rich and
typer, so that each can run and be tested without the others.
"""
