"""Every number and choice of rag's configuration is checked, wherever it comes from."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from typer.testing import CliRunner

from quantserve.core.checked import Range
from quantserve.core.errors import UsageError
from quantserve.rag import config as configuration
from quantserve.rag.config import AnswerConfig, CacheConfig, RetrieveConfig, SplitConfig
from quantserve.rag.retrieve.filters import Filters

CLASSES = [
    kind for name, kind in vars(configuration).items() if name.endswith("Config") and isinstance(kind, type)
]


def wrong_values() -> list[Any]:
    """Return (class, field, value) for every value that the field's annotation rules out."""
    found: list[Any] = []
    for kind in CLASSES:
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            hint = hints[field.name]
            hint = next((part for part in get_args(hint) if get_origin(part) is Annotated), hint)
            if get_origin(hint) is Literal:
                found += [(kind, field.name, "hybird"), (kind, field.name, None)]
                continue
            limits = Range()
            if get_origin(hint) is Annotated:
                hint, limits = get_args(hint)[:2]
            if hint in (int, float):
                found += [(kind, field.name, value) for value in (math.nan, math.inf, -math.inf, "4", True)]
                low = limits.least if limits.above is None else limits.above
                found += [(kind, field.name, low - 1)] if low is not None else []
                found += [(kind, field.name, limits.most + 1)] if limits.most is not None else []
    return found


def test_no_number_is_without_limits_but_a_score() -> None:
    free = {
        f"{kind.__name__}.{field.name}"
        for kind in CLASSES
        for field in fields(kind)
        if get_type_hints(kind, include_extras=True)[field.name] in (int, float, float | None, int | None)
    }
    assert free == {"RetrieveConfig.min_score"}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    wrong_values(),
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_what_a_field_cannot_have_is_refused_in_one_line(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(UsageError) as refused:
        kind(**{field: value})
    assert str(refused.value).startswith(f"{field} cannot be {value!r}. ")
    assert "\n" not in str(refused.value)


def test_the_matrix_covers_every_class() -> None:
    assert len(CLASSES) == 10
    assert len(wrong_values()) > 200


@pytest.mark.parametrize("languages", ["kr", "", "en;ko", "english"])
def test_languages_are_known_ones(languages: str) -> None:
    with pytest.raises(UsageError, match="auto, all, or some of: en, ko"):
        AnswerConfig(answer_languages=languages)


def test_an_overlap_leaves_room_for_something_new() -> None:
    with pytest.raises(UsageError, match="smaller than the chunk"):
        SplitConfig(chunk_tokens=64, overlap_tokens=64)
    with pytest.raises(UsageError, match="smaller than the chunk"):
        SplitConfig("characters", chunk_characters=100, overlap_characters=200)


def test_conditions_are_joined_in_a_known_way() -> None:
    join: Any = "xor"
    with pytest.raises(UsageError, match="condition cannot be 'xor'"):
        Filters(condition=join)


def test_the_semantic_cache_is_off_and_the_exact_one_on() -> None:
    assert (CacheConfig().enabled, CacheConfig().semantic) == (True, False)


def test_as_many_passages_as_there_may_be_are_taken() -> None:
    assert RetrieveConfig(top_k=10_000).top_k == 10_000


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "q", "--retrieve", "hybird"),
        ("ask", "q", "--top-k", "-1"),
        ("ask", "q", "--top-k", "99999999"),
        ("ask", "q", "--mode", "magic"),
        ("ask", "q", "--answer-languages", "kr"),
        ("ask", "q", "--max-tokens", "0"),
        ("search", "q", "-k", "0"),
        ("search", "q", "--retrieve", "cosine"),
        ("search", "q", "--backend", "gpu"),
        ("index", ".", "--chunk-tokens", "64", "--overlap-tokens", "64"),
    ],
    ids=" ".join,
)
def test_the_command_line_refuses_it_before_any_work(arguments: tuple[str, ...]) -> None:
    from quantserve.rag.__main__ import app

    ran = CliRunner().invoke(app, list(arguments))
    assert isinstance(ran.exception, UsageError | SystemExit)
    assert (getattr(ran.exception, "exit_code", None) or getattr(ran.exception, "code", None)) == 2
