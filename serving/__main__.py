"""Serve a model with vLLM and look after it.

quantserve serving up artifacts/NAME/current      in the background; status, logs, restart, down
quantserve serving serve TARGET --port 8000       in the foreground
quantserve serving plan TARGET                    what would be started, and why
quantserve serving doctor                         what this machine can do
quantserve serving keys create NAME               API keys: create, list, revoke
quantserve serving chat                           talk to the running model
quantserve serving batch IN.jsonl OUT.jsonl       answer a file of requests, resumable
"""

from __future__ import annotations

import quantserve.core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import typer

from quantserve.core.console import run_app
from quantserve.core.errors import UsageError
from quantserve.serving.commands.batch import batch
from quantserve.serving.commands.chat import chat
from quantserve.serving.commands.doctor import doctor
from quantserve.serving.commands.down import down
from quantserve.serving.commands.keys import app as keys
from quantserve.serving.commands.logs import logs
from quantserve.serving.commands.plan import plan
from quantserve.serving.commands.restart import restart
from quantserve.serving.commands.serve import serve
from quantserve.serving.commands.status import status
from quantserve.serving.commands.up import up

app = typer.Typer(
    help="Serve a model with vLLM and look after it.", no_args_is_help=True, pretty_exceptions_enable=False
)
for command in (serve, up, down, restart, status, logs, plan, doctor, chat, batch):
    app.command()(command)
app.add_typer(keys, name="keys")


@app.command(hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def tune() -> None:
    """Say where tuning is."""
    raise UsageError("tuning is a benchmark", mend="Use quantserve benchmarks tune TARGET")


if __name__ == "__main__":
    run_app(app, "serving")
