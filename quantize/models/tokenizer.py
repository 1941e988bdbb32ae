"""A checkpoint's tokenizer and chat templates, checked before the work: what is broken is one line.

In: a directory. Out: the tokenizer as transformers loads it, or nothing where only its soundness is asked.
Importing this needs neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantserve.quantize.models.checks import CheckpointError, read_json

_FAST = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_MOST_TEMPLATE_BYTES = 4_000_000
_HINT = "Fetch the tokenizer's files again"


def load_tokenizer(directory: Path) -> Any:
    """Return the tokenizer as transformers loads it, converted where there is only a SentencePiece model.

    Raises:
        CheckpointError: transformers cannot make one of these files.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # Rust's tokenizers raises Exception itself; the files may hold anything
        raise CheckpointError(
            f"{directory} has a tokenizer that cannot be loaded: {_first_line(error)}", mend=_HINT
        ) from error


def check_tokenizer(directory: Path) -> None:
    """Check that the tokenizer can be read and the chat templates can be compiled.

    Raises:
        CheckpointError: naming the file that is broken.
    """
    if (directory / _FAST).is_file():
        _read_fast(directory / _FAST)
    else:
        load_tokenizer(directory)
    for where, template in _templates(directory):
        _compile(where, template)


def _read_fast(path: Path) -> None:
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # what Rust's tokenizers raises
        raise CheckpointError(f"{path} is no tokenizer: {_first_line(error)}", mend=_HINT) from error


def _templates(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield every chat template and where it stands."""
    for path in (directory / "chat_template.jinja", *sorted((directory / "chat_templates").glob("*.jinja"))):
        if path.is_file():
            yield str(path), _text(path)
    for path in (directory / _CONFIG, directory / "chat_template.json"):
        if not path.is_file():
            continue
        value = read_json(path).get("chat_template")
        if isinstance(value, str):
            yield str(path), value
        for entry in value if isinstance(value, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("template"), str):
                yield f"{path} ({entry.get('name')})", entry["template"]


def _text(path: Path) -> str:
    if path.stat().st_size > _MOST_TEMPLATE_BYTES:
        raise CheckpointError(f"{path} is too large for a chat template", mend=_HINT)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 at byte {error.start}", mend=_HINT) from error


def _compile(where: str, template: str) -> None:
    """Compile a template to source, unoptimised: constants in it are not computed, and nothing runs."""
    import jinja2

    try:
        environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], optimized=False)
        environment.add_extension(_generation_tag())
        environment.compile(template, raw=True)
    except (jinja2.TemplateError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise CheckpointError(
            f"{where} is a chat template that cannot be read: {_first_line(error)}"
            f"{f' (line {line})' if line else ''}",
            mend="Fetch it again, or correct it",
        ) from error


def _generation_tag() -> Any:
    """Return jinja2's extension for `{% generation %}`, with which transformers marks answers."""
    from jinja2.ext import Extension

    class GenerationTag(Extension):
        tags = {"generation"}  # noqa: RUF012  jinja2 wants a plain set

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return GenerationTag


def _first_line(error: Exception) -> str:
    """Return what went wrong, in one line: transformers' own list of ways is no help to a user."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(error).split()).rstrip(".")
    return (text or type(error).__name__)[:300]
