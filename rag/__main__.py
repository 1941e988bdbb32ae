"""Answers from your documents, with their sources.

python -m rag index PATH…           bring the index up to date
python -m rag remove FILE…          take documents out of it
python -m rag ask "QUESTION"        answer it, with citations; chat does so in turn
python -m rag search "QUERY"        passages only, no model
python -m rag eval [QUESTIONS]      how well questions find their passages; calibrates "I do not know"
python -m rag list | status         what is indexed; whether the model server answers
python -m rag serve                 HTTP API (OpenAI-compatible) and web page
python -m rag keys create NAME      a key for it; list, revoke
python -m rag doctor                what is missing, each finding with its mend
python -m rag embedding-model       make the default embedding model
"""

from __future__ import annotations

import core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import typer

from core.console import run_app
from rag.commands.ask import ask
from rag.commands.chat import chat
from rag.commands.doctor import doctor
from rag.commands.embedding_model import embedding_model
from rag.commands.evaluate import evaluate
from rag.commands.index import index
from rag.commands.keys import keys
from rag.commands.list import list_documents
from rag.commands.remove import remove
from rag.commands.search import search
from rag.commands.serve import serve
from rag.commands.status import status

app = typer.Typer(
    help="Answers from your documents, with their sources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("embedding-model")(embedding_model)
app.command("list")(list_documents)
app.command("eval")(evaluate)
app.add_typer(keys, name="keys")
for command in (index, remove, search, ask, chat, status, serve, doctor):
    app.command()(command)

if __name__ == "__main__":
    run_app(app, "rag")
