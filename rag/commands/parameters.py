"""The options several commands share, with defaults from the dataclasses in rag.config."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from quantserve.core.errors import UsageError
from quantserve.rag.config import (
    SPLIT_PRESETS,
    AnswerConfig,
    Backend,
    EmbeddingConfig,
    RagConfig,
    RetrieveConfig,
    RetrieveMode,
    SplitConfig,
)

DEFAULTS = RagConfig()

IndexDirOption = Annotated[Path, typer.Option("--index-dir", help="Folder of the index.")]
ModelOption = Annotated[
    Path, typer.Option("--embedding-model", envvar="EMBED_MODEL", help="Directory of the embedding model.")
]
BackendOption = Annotated[
    str, typer.Option(help=f"What runs the embedding model: {', '.join(get_args(Backend))}.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")]
ModeOption = Annotated[str, typer.Option("--retrieve", help=f"{', '.join(get_args(RetrieveMode))}.")]
TopKOption = Annotated[int, typer.Option("--top-k", "-k", min=1, help="Passages to find.")]
BaseUrlOption = Annotated[str, typer.Option(envvar="OPENAI_BASE_URL", help="The OpenAI-compatible server.")]
ApiKeyOption = Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Its key.")]
SplitOption = Annotated[str, typer.Option("--split", help=f"{', '.join(SPLIT_PRESETS)}.")]


def choice(name: str, value: str, allowed: Any) -> Any:
    """Return `value`, which typer cannot type as the Literal `allowed`.

    Raises:
        UsageError: it is not one of them.
    """
    names = get_args(allowed)
    if value not in names:
        raise UsageError(f"{name} cannot be '{value}'", mend=f"Choose one of: {', '.join(names)}")
    return value


def rag_config(
    index_dir: Path,
    embedding_model: Path,
    backend: str = DEFAULTS.embedding.backend,
    retrieve: RetrieveConfig = DEFAULTS.retrieve,
    answer: AnswerConfig = DEFAULTS.answer,
    split: SplitConfig = DEFAULTS.split,
) -> RagConfig:
    """Gather the options of one command."""
    # oneDNN reads it once when torch loads; see rag.embedding.huggingface_backend.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
    return RagConfig(
        index_dir=index_dir,
        embedding=EmbeddingConfig(model=embedding_model, backend=choice("--backend", backend, Backend)),
        split=split,
        retrieve=retrieve,
        answer=answer,
    )


def split_config(preset: str, chunk_tokens: int, overlap_tokens: int) -> SplitConfig:
    """Gather how documents are split; the sizes in tokens count by sentence only.

    Raises:
        UsageError: there is no such preset.
    """
    if preset not in SPLIT_PRESETS:
        raise UsageError(f"--split cannot be '{preset}'", mend=f"Choose one of: {', '.join(SPLIT_PRESETS)}")
    return replace(SPLIT_PRESETS[preset], chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)


def retrieve_config(mode: str, top_k: int) -> RetrieveConfig:
    """Gather how passages are found."""
    return replace(DEFAULTS.retrieve, mode=choice("--retrieve", mode, RetrieveMode), top_k=top_k)
