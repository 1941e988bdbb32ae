"""Answers from your documents, with their sources.

quantserve rag index PATH…           bring the index up to date
quantserve rag remove FILE…          take documents out of it
quantserve rag ask "QUESTION"        answer it, with citations; chat does so in turn
quantserve rag search "QUERY"        passages only, no model
quantserve rag eval [QUESTIONS]      how well questions find their passages; calibrates "I do not know"
quantserve rag list | status         what is indexed; whether the model server answers
quantserve rag serve                 HTTP API (OpenAI-compatible) and web page
quantserve rag keys create NAME      a key for it; list, revoke
quantserve rag doctor                what is missing, each finding with its mend
quantserve rag embedding-model       make the default embedding model
"""

from __future__ import annotations

import quantserve.core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import typer

from quantserve.core.console import run_app
from quantserve.rag.commands.ask import ask
from quantserve.rag.commands.chat import chat
from quantserve.rag.commands.doctor import doctor
from quantserve.rag.commands.embedding_model import embedding_model
from quantserve.rag.commands.evaluate import evaluate
from quantserve.rag.commands.index import index
from quantserve.rag.commands.keys import keys
from quantserve.rag.commands.list import list_documents
from quantserve.rag.commands.remove import remove
from quantserve.rag.commands.search import search
from quantserve.rag.commands.serve import serve
from quantserve.rag.commands.status import status

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
