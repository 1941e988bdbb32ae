"""Options that several commands share, written once: as the fields of a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with each parameter that is a dataclass replaced by the dataclass's fields.

    typer makes an option of every parameter of a function, and knows no groups of them. Here it sees the
    fields, each of which has a default, in their order and in the parameter's place; `command` gets the
    dataclass made of their values.
    """
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    seen: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = types[parameter.name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            seen.append(parameter.replace(annotation=kind))
            continue
        groups[parameter.name] = kind
        of_field = get_type_hints(kind, include_extras=True)
        seen += [
            parameter.replace(name=field.name, default=field.default, annotation=of_field[field.name])
            for field in fields(kind)
        ]

    @functools.wraps(command)
    def gather(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    # what inspect.signature and typing.get_type_hints answer for it
    gather.__dict__["__signature__"] = inspect.Signature(seen)
    gather.__annotations__ = {parameter.name: parameter.annotation for parameter in seen}
    return gather
