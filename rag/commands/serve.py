"""`rag serve`: the HTTP API and the web page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.options import spread
from quantserve.rag.commands import parameters as p
from quantserve.rag.commands.answering import AnsweringOptions
from quantserve.rag.server.config import DEFAULT_KEYS_FILE, Bounds, LogConfig, ServerConfig

_DEFAULTS = ServerConfig()
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        envvar="RAG_KEYS",
        help=f"Keys file; {DEFAULT_KEYS_FILE} where that exists.",
        show_default=False,
    ),
]


def server_config(
    host: str = _DEFAULTS.host,
    port: int = _DEFAULTS.port,
    keys: Path | None = None,
    upload_dir: Path = _DEFAULTS.upload_dir,
    log: Path | None = _DEFAULTS.log.file,
) -> ServerConfig:
    """Gather where the server listens and keeps its files."""
    keys_file = keys or (DEFAULT_KEYS_FILE if DEFAULT_KEYS_FILE.exists() else None)
    return replace(
        _DEFAULTS, host=host, port=port, keys_file=keys_file, upload_dir=upload_dir, log=LogConfig(file=log)
    )


@spread
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = _DEFAULTS.host,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a spare one.")] = _DEFAULTS.port,
    keys: KeysOption = None,
    upload_dir: Annotated[Path, typer.Option(help="Where uploads are kept.")] = _DEFAULTS.upload_dir,
    log: Annotated[Path, typer.Option(help="Log of requests, in JSON lines.")] = _DEFAULTS.log.file
    or Path("rag.jsonl"),
    no_log: Annotated[bool, typer.Option("--no-log", help="Write no log.")] = False,
    max_upload_mib: Annotated[int, typer.Option(min=1, help="Largest file that is taken, in MiB.")] = (
        _DEFAULTS.bounds.max_upload_bytes >> 20
    ),
    max_requests: Annotated[
        int, typer.Option(min=1, help="Questions in flight; one more gets 429.")
    ] = _DEFAULTS.bounds.max_requests,
    otlp_endpoint: Annotated[
        str, typer.Option(envvar="OTEL_EXPORTER_OTLP_ENDPOINT", help="OpenTelemetry collector (HTTP).")
    ] = _DEFAULTS.otlp_endpoint,
    wandb: Annotated[str, typer.Option(help="Log to this Weights & Biases project.")] = "",
    *,
    answering: AnsweringOptions,
    json_output: p.JsonOption = False,
) -> None:
    """Serve answers with their sources: an OpenAI-compatible API and a web page."""
    from quantserve.rag.commands.embedding_model import provide
    from quantserve.rag.server.run import serve as run

    rag = answering.config()
    config = replace(
        server_config(host, port, keys, upload_dir, None if no_log else log),
        bounds=replace(Bounds(), max_upload_bytes=max_upload_mib << 20, max_requests=max_requests),
        otlp_endpoint=otlp_endpoint,
        wandb_project=wandb,
    )
    provide(answering.embedding_model)
    run(rag, config, json_output=json_output)
