"""`rag doctor`: what retrieval needs, each finding with its mend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json, styled
from quantserve.rag.commands import parameters as p
from quantserve.rag.commands.serve import KeysOption, server_config
from quantserve.rag.server.config import ServerConfig

_DEFAULTS = ServerConfig()
_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def doctor(
    host: Annotated[str, typer.Option(help="Where `rag serve` would listen.")] = _DEFAULTS.host,
    port: Annotated[int, typer.Option(min=1, max=65535, help="And on which port.")] = _DEFAULTS.port,
    keys: KeysOption = None,
    upload_dir: Annotated[Path, typer.Option(help="Where uploads are kept.")] = _DEFAULTS.upload_dir,
    base_url: p.BaseUrlOption = p.DEFAULTS.answer.base_url,
    api_key: p.ApiKeyOption = p.DEFAULTS.answer.api_key,
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    embedding_model: p.ModelOption = p.DEFAULTS.embedding.model,
    backend: p.BackendOption = p.DEFAULTS.embedding.backend,
    json_output: p.JsonOption = False,
) -> None:
    """Check the embedding model, the index, the model server, and what `rag serve` needs."""
    from dataclasses import replace

    from quantserve.rag.doctor import examine

    answer = replace(p.DEFAULTS.answer, base_url=base_url, api_key=api_key)
    rag = p.rag_config(index_dir, embedding_model, backend, answer=answer)
    found = examine(rag, server_config(host, port, keys, upload_dir))
    for finding in found:
        mend = f"  → {finding.mend}" if finding.mend else ""
        console.print(
            styled("  ", (f"{finding.level:<8}", _COLOURS[finding.level]), f" {finding.what}{mend}")
        )
    failed = any(finding.level == "error" for finding in found)
    if json_output:
        emit_json({"ok": not failed, "findings": [vars(finding) for finding in found]})
    if failed:
        raise typer.Exit(1)
