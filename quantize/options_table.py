"""Write the options tables of docs/quantize.md from the dataclasses: `python -m quantserve.quantize.options_table`.

A table stands between `<!-- options: NAME -->` and `<!-- end -->`, where NAME is a dataclass of
quantize/config.py. Its rows are the fields, their defaults, and what the class's docstring says of them.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from quantserve.core.files import write_text
from quantserve.quantize import config

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quantize.md"
_TABLE = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FIELD = re.compile(r"^(\w+): ", re.MULTILINE)
# Where the command line's word is another than the field's, or the option is an argument repeated.
_FLAGS = {"sources": "--calibration", "symmetric": "--symmetric / --asymmetric"}


def descriptions(cls: type[Any]) -> dict[str, str]:
    """Return what a dataclass's docstring says of each field, `name: text` after the first paragraph."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[2]
    parts = _FIELD.split(text)
    return {
        name: " ".join(said.split()).rstrip(".") for name, said in zip(parts[1::2], parts[2::2], strict=True)
    }


def table(cls: type[Any]) -> str:
    """Return a Markdown table of a dataclass's fields.

    Raises:
        KeyError: the docstring says nothing of a field.
    """
    said = descriptions(cls)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(cls):
        flag = _FLAGS.get(field.name, f"--{field.name.replace('_', '-')}")
        lines.append(f"| `{flag}` | {_shown(field.default)} | {said[field.name]} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if default is None or default == ():
        return "–"
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"`{', '.join(map(str, default)) if isinstance(default, tuple) else default}`"


def with_tables(page: str) -> str:
    """Return a page with every options table written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{table(getattr(config, found[2]))}{found[3]}", page)


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = with_tables(before)
    if after != before:
        write_text(PAGE, after)
    sys.stdout.write(f"{PAGE.name}: {'unchanged' if after == before else 'written'}\n")
