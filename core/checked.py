"""Configuration that cannot hold a wrong value: a dataclass that checks its own choices and numbers.

    @dataclass(frozen=True)
    class Search(Checked):
        mode: Literal["dense", "bm25"] = "dense"
        top_k: Annotated[int, Range(1, 100)] = 4

    Search(top_k=0)     # UsageError: top_k cannot be 0. Give a whole number from 1 to 100

What is checked follows from the annotation: a Literal's choices, a number's kind and range (a plain float is
any finite one), a truth value, and None only where the annotation has it. So a value is wrong in the same way
wherever it comes from: a program, the command line or a request.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Hashable
from dataclasses import Field, dataclass
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from quantserve.core.errors import UsageError


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`, both of them included unless `above` replaces `least`."""

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a number lies in it."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        """Say it in words."""
        if self.least is not None and self.most is not None:
            return f"from {self.least:,} to {self.most:,}"
        parts = (
            (f"of at least {self.least:,}" if self.least is not None else ""),
            (f"above {self.above:,}" if self.above is not None else ""),
            (f"of at most {self.most:,}" if self.most is not None else ""),
        )
        return " and ".join(filter(None, parts))


class Checked:
    """Base of a dataclass whose values are checked when it is made, `dataclasses.replace` included."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            UsageError: a value that the field cannot have.
        """
        kind: Any = type(self)
        hints = _hints(kind)
        given = vars(self)
        for name in self.__dataclass_fields__:
            check(name, given[name], hints[name])


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def check(name: str, value: Any, hint: Any) -> None:
    """Refuse a value that `hint` does not allow; a kind that is neither choice nor number passes.

    Raises:
        UsageError: with what may be given instead.
    """
    limits = Range()
    while get_origin(hint) is Annotated:
        hint, *told = get_args(hint)
        limits = next((part for part in told if isinstance(part, Range)), limits)
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if value is None and len(kinds) < len(get_args(hint)):
            return
        if len(kinds) == 1:
            check(name, value, Annotated[kinds[0], limits])
        return
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise UsageError(
                f"{name} cannot be {value!r}", mend=f"Choose one of: {', '.join(map(str, choices))}"
            )
    elif hint is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name} cannot be {value!r}", mend="Give True or False")
    elif hint in (int, float):
        _check_number(name, value, limits, whole=hint is int)


def _check_number(name: str, value: Any, limits: Range, *, whole: bool) -> None:
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if number and math.isfinite(value) and limits.holds(value):
        return
    kind = "a whole number" if whole else "a number"
    raise UsageError(f"{name} cannot be {value!r}", mend=f"Give {kind} {limits}".rstrip())
