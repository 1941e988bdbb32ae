"""Run: python -m rag embedding-model | index PATH… | search "Q" | ask "Q" | chat | list | status."""

from core.console import run_app
from rag.cli import app

if __name__ == "__main__":
    run_app(app, "rag")
