"""Measure base and candidate alternately, so that a noisy machine hits both.

The candidate is started first, alone: an artifact that does not load costs one start, and no base.

    side by side    candidate up, base up; texts and answers of each; rounds base, candidate, candidate, base
    taking turns    candidate: texts, round; base: texts, two rounds; candidate: round     (three starts)

Both are up at once where memory allows. When one fails beside the other they take turns before anything
is said of either: it may have failed for want of the memory the other holds.

Then the base against itself, as it is served and in float32: a greedy answer follows the highest logit, and
where two are nearly equal, rounding to 16 bits decides. What differs is noise, not loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quantserve.core.console import console
from quantserve.quantize.gate.facts import Fact
from quantserve.quantize.gate.measure.client import Client
from quantserve.quantize.gate.measure.config import GateConfig
from quantserve.quantize.gate.measure.engine import (
    EngineRoom,
    MeasuredEngine,
    available_bytes,
    decide_room,
    running_engine,
)
from quantserve.quantize.gate.measure.errors import BadReply, GateError, MeasuredEngineFailed, NotFinite
from quantserve.quantize.gate.measure.requests import (
    Cost,
    EngineReplies,
    EvaluationPrompt,
    ModelView,
    SpeedRound,
    Tick,
    ask_reference,
    engine_cost,
    measure_quality,
    measure_round,
    requests_of,
)
from quantserve.quantize.gate.measure.tasks import TaskScores

Kinds = tuple[type[GateError], ...]
_ALL: Kinds = (MeasuredEngineFailed, BadReply)
# While both are up only this is surely the fault of who gave it; one that died may have lacked memory.
_REFUSED: Kinds = (BadReply,)
EXACT = "float32"
_OPTIONS = ("--dtype", EXACT)


@dataclass(frozen=True)
class RunningEngine:
    """An engine that runs, and the client that asks it."""

    engine: MeasuredEngine
    client: Client


@dataclass(frozen=True)
class GateQuestions:
    """What both are asked."""

    prompts: tuple[EvaluationPrompt, ...]
    questions: tuple[str, ...]
    tool_questions: tuple[str, ...]
    facts: tuple[Fact, ...] = ()

    @property
    def fact_questions(self) -> tuple[str, ...]:
        """The short prompts."""
        return tuple(fact.question for fact in self.facts)

    def requests(self) -> int:
        """Return how many requests one look makes."""
        return len(self.prompts) + len(self.tool_questions) + self.reference_requests()

    def reference_requests(self) -> int:
        """Return how many requests the base in float32 is asked."""
        return len(self.questions) + len(self.facts)


@dataclass(frozen=True)
class EngineMeasurement:
    """All that was measured on one engine."""

    view: ModelView
    cost: Cost
    tasks: TaskScores | None = None


@dataclass(frozen=True)
class Measurements:
    """Both engines' measurements, and how they were made."""

    base: EngineMeasurement
    candidate: EngineMeasurement
    room: EngineRoom


class CandidateFailed(Exception):
    """The candidate does not load, or died: a verdict, not an error. Carries what the base showed."""

    def __init__(self, reason: str, base: EngineMeasurement | None, *, finite: bool = True) -> None:
        """`reason` is the log's telling line; `base` is None when the base was not measured yet.

        `finite` is False when it loads and answers, but with what is no number.
        """
        super().__init__(reason)
        self.reason = reason
        self.base = base
        self.finite = finite


Tasks = Callable[[RunningEngine, str], TaskScores] | None
"""Runs benchmark tasks on an engine; the second argument names it."""


@dataclass(frozen=True)
class Pairing:
    """One gate run's engines. `known` is the base's view from an earlier run."""

    config: GateConfig
    base: Path
    candidate: Path
    more_weights: int
    """Bytes by which the base's weights are larger than the candidate's in memory."""
    asked: GateQuestions
    known: ModelView | None
    on_gpu: bool
    tasks: Tasks
    tick: Tick

    def requests(self) -> int:
        """Return how many requests there will be, for the progress bar."""
        plan = self.config.measurement
        looks = 1 if self.known else 2
        return looks * self.asked.requests() + 2 * plan.speed_rounds * requests_of(plan)

    def measure(self) -> Measurements:
        """Measure both.

        Raises:
            CandidateFailed: the candidate did not become ready, died, or gave no usable answer.
            GateError: the base could not be measured, so nothing can be said about the candidate.
        """
        seen: EngineMeasurement | None = None
        with _candidate_named(None), self._up(self.candidate, "candidate") as candidate:
            decision = self._room(candidate.engine)
            if decision.side_by_side:
                try:
                    with self._up(self.base, "base") as base:
                        with _base_named(self.base, _REFUSED):
                            seen = self._base_measured(base, None)
                        return self._side_by_side(base, candidate, seen, decision)
                except MeasuredEngineFailed as error:
                    what = (
                        "the base failed beside the candidate"
                        if seen is None
                        else "one died beside the other"
                    )
                    console.print(f"{what}: {error}. Taking turns", soft_wrap=True)
                    decision = EngineRoom(False, what)
            opened = self._candidate_first(candidate, None) if seen is None else None
        if opened is None:  # the two were up, and which of them died for the other's sake is not known
            with _candidate_named(seen), self._up(self.candidate, "candidate") as candidate:
                opened = self._candidate_first(candidate, seen)
        return self._in_turns(opened, seen, decision)

    def _base_measured(self, base: RunningEngine, before: EngineMeasurement | None) -> EngineMeasurement:
        """Return the base's view, tasks and cost without a round; what is known is not asked again."""
        if before is not None:
            return replace(before, cost=engine_cost(base.engine, ()))
        view = self.known or self._quality_of(base, self.asked.prompts, "base")
        tasks = self.tasks(base, "base") if self.tasks else None
        return EngineMeasurement(view, engine_cost(base.engine, ()), tasks)

    def _side_by_side(
        self, base: RunningEngine, candidate: RunningEngine, seen: EngineMeasurement, decision: EngineRoom
    ) -> Measurements:
        with _candidate_named(seen, _REFUSED):
            view = self._quality_of(candidate, as_read(self.asked, seen.view), "candidate")
            scores = self.tasks(candidate, "candidate") if self.tasks else None
        rounds: dict[str, list[SpeedRound]] = {"base": [], "candidate": []}
        for number in range(self.config.measurement.speed_rounds):
            turn = [("base", base), ("candidate", candidate)]
            for role, one in turn if number % 2 == 0 else reversed(turn):
                with _base_named(self.base, _REFUSED) if one is base else _candidate_named(seen, _REFUSED):
                    rounds[role].append(self._round(one, seen.view, number, role))
        return Measurements(
            replace(seen, cost=engine_cost(base.engine, rounds["base"])),
            EngineMeasurement(view, engine_cost(candidate.engine, rounds["candidate"]), scores),
            decision,
        )

    def _candidate_first(self, candidate: RunningEngine, base: EngineMeasurement | None) -> EngineMeasurement:
        """Return the candidate's view, tasks and first round, before the base takes its turn.

        Without a view of the base's it reads the text by itself; `_in_turns` sees whether it read the same.
        """
        known = self.known if base is None else base.view
        prompts = self.asked.prompts if known is None else as_read(self.asked, known)
        view = self._quality_of(candidate, prompts, "candidate")
        scores = self.tasks(candidate, "candidate") if self.tasks else None
        return EngineMeasurement(
            view, engine_cost(candidate.engine, (self._round(candidate, view, 0, "candidate"),)), scores
        )

    def _in_turns(
        self, opened: EngineMeasurement, before: EngineMeasurement | None, decision: EngineRoom
    ) -> Measurements:
        count = self.config.measurement.speed_rounds
        with _base_named(self.base), self._up(self.base, "base") as up:
            base = self._base_measured(up, before)
            rounds = [self._round(up, base.view, number, "base") for number in range(count)]
            base = replace(base, cost=engine_cost(up.engine, rounds))
        with _candidate_named(base), self._up(self.candidate, "candidate") as again:
            view, asked = opened.view, as_read(self.asked, base.view)
            if asked != as_read(self.asked, view):
                view = self._quality_of(again, asked, "candidate")
            rounds = [self._round(again, base.view, number, "candidate") for number in range(1, count)]
        # What starting cost is from the first start, as it is for the base: a second finds compiled kernels.
        paid = replace(opened.cost, rounds=(*opened.cost.rounds, *rounds))
        return Measurements(base, EngineMeasurement(view, paid, opened.tasks), decision)

    @contextlib.contextmanager
    def _up(self, target: Path, role: str) -> Iterator[RunningEngine]:
        with running_engine(self.config, target, role) as engine:
            client = Client(engine.url, engine.model, timeout_s=self.config.request_timeout_s)
            with contextlib.closing(client):
                yield RunningEngine(engine, client)

    def _quality_of(self, up: RunningEngine, prompts: Sequence[EvaluationPrompt], role: str) -> ModelView:
        asked = self.asked
        plan = self.config.measurement
        tick = self.tick_for(role)
        questions = (asked.questions, asked.tool_questions, asked.fact_questions)
        return measure_quality(up.client, plan, prompts, *questions, tick)

    def _round(self, up: RunningEngine, view: ModelView, number: int, role: str) -> SpeedRound:
        prompts = [passage.ids.tolist() for passage in view.passages]
        return measure_round(up.client, self.config.measurement, prompts, number, self.tick_for(role))

    def tick_for(self, role: str) -> Tick:
        """Return a tick that says whose request was answered."""
        return lambda what: self.tick(f"{role}: {what}")

    def _room(self, engine: MeasuredEngine) -> EngineRoom:
        return decide_room(
            argv=[str(part) for part in engine.ready.get("argv", ())],
            first_bytes=engine.memory_bytes(),
            available_bytes=available_bytes(),
            # 16-bit weights are widened where the processor has no 16-bit arithmetic
            more_weights=self.more_weights * (2 if engine.dtype == "float32" else 1),
            on_gpu=self.on_gpu,
        )


def as_read(asked: GateQuestions, view: ModelView) -> tuple[EvaluationPrompt, ...]:
    """Return the prompts as the token ids that were read, the base's for both."""
    return tuple(
        EvaluationPrompt(passage.ids.tolist(), prompt.max_tokens)
        for prompt, passage in zip(asked.prompts, view.passages, strict=True)
    )


@contextlib.contextmanager
def _base_named(directory: Path, kinds: Kinds = _ALL) -> Iterator[None]:
    """Say of a failure of these kinds that it is the base's; a candidate's keeps its name."""
    try:
        yield
    except kinds as error:
        raise GateError(
            f"the base {directory} could not be measured: {error}",
            mend="The candidate was not judged. See run/gate/base.log",
        ) from error


@contextlib.contextmanager
def _candidate_named(base: EngineMeasurement | None, kinds: Kinds = _ALL) -> Iterator[None]:
    """Turn a failure of the candidate of these kinds into the verdict that it is."""
    try:
        yield
    except kinds as error:
        raise CandidateFailed(str(error), base, finite=not isinstance(error, NotFinite)) from error


@dataclass(frozen=True)
class Reference:
    """What the base says in float32; without it, why not."""

    replies: EngineReplies | None
    problem: str = ""


def why_no_reference(config: GateConfig, served_dtype: str | None) -> str:
    """Return why no second run of the base is to be made, or nothing."""
    if not config.measurement.float32:
        return "not asked for"
    return f"the base is served in {EXACT}, which has none" if served_dtype == EXACT else ""


def measure_reference(
    config: GateConfig,
    base: Path,
    served_dtype: str | None,
    asked: GateQuestions,
    known: EngineReplies | None,
    tick: Tick,
) -> Reference:
    """Serve the base in float32 and ask it the questions, or take what is `known`.

    A machine that has no room for the base in float32 judges without a floor, and the report says so.

    Raises:
        BadReply: the base answered with something that is no answer.
    """
    if problem := why_no_reference(config, served_dtype):
        return Reference(None, problem)
    if known is not None:
        return Reference(known)
    try:
        with running_engine(config, base, f"base-{EXACT}", _OPTIONS) as engine:
            client = Client(engine.url, engine.model, timeout_s=config.request_timeout_s)
            with contextlib.closing(client):
                plan = config.measurement
                replies = ask_reference(client, plan, asked.questions, asked.fact_questions, tick)
    except MeasuredEngineFailed as error:
        console.print(f"no noise floor: the base in {EXACT}: {error}", soft_wrap=True)
        return Reference(None, f"the base did not run in {EXACT}: {error}")
    return Reference(replies)
