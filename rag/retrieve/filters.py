"""Metadata filters: which chunks may be found at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from quantserve.core.checked import check
from quantserve.core.errors import UsageError
from quantserve.rag.store.chunks import Chunk

Operator = Literal["==", "!=", ">", "<", ">=", "<=", "in", "nin", "contains"]
Key = Literal["file", "path", "page", "heading"]
Value = str | int | tuple[str | int, ...]


@dataclass(frozen=True)
class Condition:
    """One comparison, as LlamaIndex's MetadataFilter has it; text is compared without case."""

    key: Key
    value: Value
    operator: Operator = "=="

    def __post_init__(self) -> None:
        """Refuse what no chunk has.

        Raises:
            UsageError: the key or the operator does not exist, or they do not fit each other.
        """
        if self.key not in get_args(Key):
            raise UsageError(f"chunks have no '{self.key}'", mend=f"Filter by: {', '.join(get_args(Key))}")
        if self.operator not in get_args(Operator):
            raise UsageError(
                f"'{self.operator}' is no comparison", mend=f"Choose one of: {', '.join(get_args(Operator))}"
            )
        if (self.operator in ("in", "nin")) != isinstance(self.value, tuple):
            raise UsageError(
                f"'{self.operator}' with {self.value!r}", mend="in and nin take a list, others one value"
            )

    def allows(self, chunk: Chunk) -> bool:
        """Whether a chunk passes; a chunk without a page passes no comparison of pages but !=, nin."""
        have = _fold(getattr(chunk, self.key))
        if isinstance(self.value, tuple):
            return (have in {_fold(value) for value in self.value}) == (self.operator == "in")
        want = _fold(self.value)
        if self.operator in ("==", "!="):
            return (have == want) == (self.operator == "==")
        if self.operator == "contains":
            return isinstance(have, str) and str(want) in have
        if isinstance(have, int) and isinstance(want, int):
            return _compares(have, want, self.operator)
        both_text = isinstance(have, str) and isinstance(want, str)
        return both_text and _compares(have, want, self.operator)


@dataclass(frozen=True)
class Filters:
    """Conditions joined by `condition`; without any, everything passes."""

    conditions: tuple[Condition | Filters, ...] = ()
    condition: Literal["and", "or"] = "and"

    def __post_init__(self) -> None:
        """Refuse another way of joining.

        Raises:
            UsageError: it is neither and nor or.
        """
        check("condition", self.condition, Literal["and", "or"])

    def allows(self, chunk: Chunk) -> bool:
        """Whether a chunk passes."""
        if not self.conditions:
            return True
        passed = (condition.allows(chunk) for condition in self.conditions)
        return all(passed) if self.condition == "and" else any(passed)


def _fold(value: object) -> object:
    return value.casefold() if isinstance(value, str) else value


def _compares(have: Any, want: Any, operator: str) -> bool:
    return bool({">": have > want, "<": have < want, ">=": have >= want, "<=": have <= want}[operator])
