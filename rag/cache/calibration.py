"""Whether a judge may be believed: it is tried on pairs of questions of known kind before its first verdict.

No name and no size says whether a model can judge; so each is measured on `calibration.jsonl`, 60 pairs that
look alike and want different answers and 24 true paraphrases. `rag eval --question-pairs` measures any other
file of such pairs in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from pydantic import BaseModel, ConfigDict, ValidationError

from quantserve.core.errors import InputError
from quantserve.rag.cache.judge import SameAnswerJudge
from quantserve.rag.errors import JudgeUnclear
from quantserve.rag.llm import Cancellation

_AT_ONCE = 8


class QuestionPair(BaseModel):
    """Two questions and whether they want the same answer; `kind` says in what they differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    one: str
    other: str
    same: bool
    kind: str


@dataclass(frozen=True)
class JudgeFigures:
    """How a judge did: false hits among near misses, hits among paraphrases, answers that were unclear."""

    near_misses: int
    false_hits: int
    paraphrases: int
    hits: int
    unclear: int = 0


def load_pairs(file: Traversable) -> list[QuestionPair]:
    """Read a file of JSON lines.

    Raises:
        InputError: it cannot be read, a line is no pair, or one of the two sorts is missing.
    """
    how = 'Write {"one": …, "other": …, "same": true or false, "kind": …} on each line'
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", mend="Give a file of JSON lines") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        try:
            pairs.append(QuestionPair.model_validate_json(line))
        except ValidationError as error:
            raise InputError(
                f"{file}, line {number}: no pair of questions ({error.errors()[0]['msg']})", mend=how
            ) from error
    if {pair.same for pair in pairs} != {True, False}:
        raise InputError(f"{file} needs pairs that want the same answer and pairs that do not", mend=how)
    return pairs


@functools.cache
def calibration_pairs() -> tuple[QuestionPair, ...]:
    """Return the built-in pairs."""
    return tuple(load_pairs(resources.files("quantserve.rag.cache").joinpath("calibration.jsonl")))


def verdicts_of(
    judge: SameAnswerJudge, pairs: Sequence[QuestionPair], advance: Callable[[], None] = lambda: None
) -> list[bool | None]:
    """Return for each pair whether the judge confirms it; None where it was unclear.

    Raises:
        JudgeFailed: it did not answer, or cannot judge.
    """
    cancellation = Cancellation()  # whoever waits may leave: what is measured serves all who follow

    def verdict(pair: QuestionPair) -> bool | None:
        try:
            return judge.confirms(pair.one, pair.other, cancellation)
        except JudgeUnclear:
            return None
        finally:
            advance()

    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="judge")
    try:
        return list(pool.map(verdict, pairs))
    finally:
        pool.shutdown(cancel_futures=True)


def try_judge(judge: SameAnswerJudge, max_false_hits: float) -> JudgeFigures:
    """Judge the built-in pairs, only until more false hits are counted than may be: figures of those tried.

    Raises:
        JudgeFailed: it did not answer, or cannot judge.
    """
    pairs = calibration_pairs()  # near misses come first
    most = max_false_hits * sum(not pair.same for pair in pairs)
    verdicts: list[bool | None] = []
    figures = JudgeFigures(0, 0, 0, 0)
    while len(verdicts) < len(pairs) and figures.false_hits <= most:
        verdicts += verdicts_of(judge, pairs[len(verdicts) : len(verdicts) + _AT_ONCE])
        figures = figures_of(pairs[: len(verdicts)], verdicts)
    return figures


def figures_of(pairs: Sequence[QuestionPair], verdicts: Sequence[bool | None]) -> JudgeFigures:
    """Count the verdicts."""
    judged = list(zip(pairs, verdicts, strict=True))
    return JudgeFigures(
        near_misses=sum(not pair.same for pair in pairs),
        false_hits=sum(bool(verdict) for pair, verdict in judged if not pair.same),
        paraphrases=sum(pair.same for pair in pairs),
        hits=sum(bool(verdict) for pair, verdict in judged if pair.same),
        unclear=sum(verdict is None for verdict in verdicts),
    )


def why_refused(judge: str, figures: JudgeFigures, max_false_hits: float) -> str:
    """Return the line that says why a judge with these figures is not believed; empty where it is."""
    share = figures.false_hits / figures.near_misses
    if share > max_false_hits:
        problem = (
            f"{judge} took {figures.false_hits} of {figures.near_misses} pairs of different questions for "
            f"the same ({share:.0%}; at most {max_false_hits:.0%} may be)"
        )
    elif not figures.hits:
        unclear = f", {figures.unclear} answers were neither yes nor no" if figures.unclear else ""
        problem = f"{judge} confirmed none of {figures.paraphrases} true paraphrases{unclear}"
    else:
        return ""
    return f"the semantic cache stays off: {problem}. Serve a more capable model, or name one: --cache-judge"
