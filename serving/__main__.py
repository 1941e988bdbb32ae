"""Serve a model with vLLM and look after it.

python -m serving up artifacts/NAME/current      in the background; status, logs, restart, down
python -m serving serve TARGET --port 8000       in the foreground
python -m serving plan TARGET                    what would be started, and why
python -m serving doctor                         what this machine can do
python -m serving tune TARGET                    the settings that serve a workload best, as a profile
python -m serving keys create NAME               API keys: create, list, revoke
python -m serving chat                           talk to the running model
python -m serving batch IN.jsonl OUT.jsonl       answer a file of requests, resumable
"""

from __future__ import annotations

import core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import typer

from core.console import run_app
from serving.commands.batch import batch
from serving.commands.chat import chat
from serving.commands.doctor import doctor
from serving.commands.down import down
from serving.commands.keys import app as keys
from serving.commands.logs import logs
from serving.commands.plan import plan
from serving.commands.restart import restart
from serving.commands.serve import serve
from serving.commands.status import status
from serving.commands.tune import tune
from serving.commands.up import up

app = typer.Typer(
    help="Serve a model with vLLM and look after it.", no_args_is_help=True, pretty_exceptions_enable=False
)
for command in (serve, up, down, restart, status, logs, plan, doctor, tune, chat, batch):
    app.command()(command)
app.add_typer(keys, name="keys")

if __name__ == "__main__":
    run_app(app, "serving")
