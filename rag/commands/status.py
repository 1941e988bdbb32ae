"""`rag status`: what is indexed, and whether the model server answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quantserve.core.console import console, emit_json
from quantserve.rag.commands import parameters as p


def status(
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    base_url: p.BaseUrlOption = p.DEFAULTS.answer.base_url,
    api_key: p.ApiKeyOption = p.DEFAULTS.answer.api_key,
    json_output: p.JsonOption = False,
) -> None:
    """Say what is indexed and whether the model server answers."""
    from quantserve.rag.errors import ServerUnavailable
    from quantserve.rag.llm import ModelServer
    from quantserve.rag.store.base import open_store

    store = open_store(replace(p.DEFAULTS, index_dir=index_dir))
    generation = store.current()
    state: dict[str, Any] = {"index": None, "server": {"url": base_url, "model": None, "problem": ""}}
    if generation is None:
        console.print(f"index   {store}: none yet. Make one: quantserve rag index PATH", markup=False)
    else:
        manifest = generation.manifest
        state["index"] = {
            "generation": generation.name,
            "created": manifest.created,
            "files": len(manifest.files),
            "chunks": manifest.chunks,
            "embedding_model": manifest.settings.embedding_model,
            "dimension": manifest.dimension,
        }
        console.print(
            f"index   {store}, {generation.name}: {len(manifest.files)} files, "
            f"{manifest.chunks} passages, {manifest.settings.embedding_model}, {manifest.created}"
        )
    try:
        server = ModelServer(replace(p.DEFAULTS.answer, base_url=base_url, api_key=api_key)).describe()
        state["server"].update(model=server.name, window_tokens=server.window_tokens)
        console.print(f"server  {base_url}: {server.name}, window {server.window_tokens} tokens")
    except ServerUnavailable as error:
        state["server"]["problem"] = str(error)
        console.print(f"server  {error}", markup=False)
    if json_output:
        emit_json(state)
