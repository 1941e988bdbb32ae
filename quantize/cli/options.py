"""Options of the command line, and their tables in docs/quantize.md, from the dataclasses that define them.

A field's name is the flag, its default the default, and what the class's docstring says of it the help.
`python -m quantserve.quantize.cli.options` writes the tables: each stands between `<!-- options: NAME -->`
and `<!-- end -->`, where NAME is a dataclass of quantize/config.py.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from quantserve.core.files import write_text
from quantserve.core.home import CHECKOUT
from quantserve.quantize import config

PAGE = (CHECKOUT or Path()) / "docs" / "quantize.md"
_TABLE = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FIELD = re.compile(r"^(\w+): ", re.MULTILINE)
# Where the command line's word is another than the field's.
_FLAGS = {"sources": "--calibration", "symmetric": "--symmetric/--asymmetric", "force": "--force"}
_METAVARS = {"sources": "SOURCE[:WEIGHT]", "precision_override": "PATTERN[=16|8]"}


def fraction(text: str) -> float:
    """Read 0.05 or 5% as 0.05."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a fraction such as 0.05 or 5%") from error


def derived(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with each parameter that is an option dataclass replaced by its fields as options.

    Annotated[Options, ("a", "b")] offers these fields alone; the others keep their defaults.
    """
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    types_of = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        kind = types_of[parameter.name]
        cls: Any
        cls, *more = get_args(kind) if get_origin(kind) is Annotated else (kind,)
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        names = next((one for one in more if isinstance(one, tuple)), None)
        fields = [one for one in dataclasses.fields(cls) if names is None or one.name in names]
        groups[parameter.name] = cls, [one.name for one in fields]
        parameters += _parameters(cls, fields)

    @functools.wraps(command)
    def gather(**given: Any) -> None:
        for name, (cls, fields) in groups.items():
            values = {field: given.pop(field) for field in fields}
            given[name] = cls(
                **{
                    field: tuple(value) if isinstance(value, list) else value
                    for field, value in values.items()
                    if value != []
                }
            )
        command(**given)

    gather.__dict__["__signature__"] = inspect.Signature(
        sorted(parameters, key=lambda one: one.default is not inspect.Parameter.empty)
    )
    gather.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return gather


def _parameters(cls: type[Any], fields: Iterable[dataclasses.Field[Any]]) -> list[inspect.Parameter]:
    types_of = get_type_hints(cls)
    help_of = descriptions(cls)
    found = []
    for field in fields:
        name, default = field.name, field.default
        kind: Any = types_of[name]
        if any(get_origin(one) is tuple for one in (kind, *get_args(kind))):
            kind, default = list[str], [*default] if isinstance(default, tuple) else []
        option = typer.Option(
            *([_FLAGS[name]] if name in _FLAGS else []),
            help=help_of[name][:1].upper() + help_of[name][1:],
            metavar=_METAVARS.get(name),
            show_default=default not in (None, []),
            parser=fraction if kind == float | None and name.startswith(("max_", "min_")) else None,
        )
        found.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
            )
        )
    return found


def union(name: str, classes: Mapping[str, type[Any]]) -> type[Any]:
    """Return a dataclass of every field of several, each None unless given; the help says whose it is."""
    fields: dict[str, Any] = {}
    owners: dict[str, list[str]] = {}
    meanings: dict[str, str] = {}
    for owner, cls in classes.items():
        for field, kind in get_type_hints(cls).items():
            fields.setdefault(field, Union[kind, None])  # noqa: UP007  kind is a value
            owners.setdefault(field, []).append(owner)
            meanings.setdefault(field, descriptions(cls)[field])
    made = dataclasses.make_dataclass(
        name, [(field, kind, dataclasses.field(default=None)) for field, kind in fields.items()], frozen=True
    )
    lines = [f"{field}: ({', '.join(owners[field])}) {meanings[field]}" for field in fields]
    made.__doc__ = f"{name}.\n\n" + "\n".join(lines)
    return made


def descriptions(cls: type[Any]) -> dict[str, str]:
    """Return what a dataclass's docstring, and those it derives from, say of each field, `name: text`."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        parts = _FIELD.split(inspect.cleandoc(one.__doc__ or "").partition("\n\n")[2])
        found |= {
            name: " ".join(meaning.split()).rstrip(".")
            for name, meaning in zip(parts[1::2], parts[2::2], strict=True)
        }
    return found


def table(cls: type[Any]) -> str:
    """Return a Markdown table of a dataclass's fields.

    Raises:
        KeyError: the docstring says nothing of a field.
    """
    meanings = descriptions(cls)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(cls):
        flag = _FLAGS.get(field.name, f"--{field.name.replace('_', '-')}").replace("/", " / ")
        lines.append(f"| `{flag}` | {_shown(field.default)} | {meanings[field.name]} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if default is None or default == ():
        return "–"
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"`{', '.join(map(str, default)) if isinstance(default, tuple) else default}`"


def with_tables(page: str) -> str:
    """Return a page with every options table written anew."""
    return _TABLE.sub(lambda match: f"{match[1]}{table(getattr(config, match[2]))}{match[3]}", page)


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = with_tables(before)
    if after != before:
        write_text(PAGE, after)
    sys.stdout.write(f"{PAGE.name}: {'unchanged' if after == before else 'written'}\n")
