"""Measure base and candidate alternately, so that a noisy machine hits both.

    side by side    base up, candidate up; texts and answers of each; rounds base, candidate, candidate, base
    taking turns    base: texts, round; candidate: texts, two rounds; base: round     (three starts)

Both are up at once where memory allows. A candidate that fails beside the base is tried alone before
it is called infeasible: it may have failed for want of the memory the base holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.console import console
from quantize.gate import room, speed
from quantize.gate.client import Client
from quantize.gate.config import GateConfig
from quantize.gate.engine import Engine, running
from quantize.gate.errors import BadReply, EngineFailed, GateError
from quantize.gate.measure import Cost, Prompt, View, cost, look
from quantize.gate.speed import Round, Tick
from quantize.gate.tasks import TaskScores


@dataclass(frozen=True)
class Up:
    """An engine that runs, and the client that asks it."""

    engine: Engine
    client: Client


@dataclass(frozen=True)
class Asked:
    """What both are asked."""

    prompts: tuple[Prompt, ...]
    questions: tuple[str, ...]
    tool_questions: tuple[str, ...]

    def requests(self) -> int:
        """Return how many requests one look makes."""
        return len(self.prompts) + len(self.questions) + len(self.tool_questions)


@dataclass(frozen=True)
class Measured:
    """All that was measured on one engine."""

    view: View
    cost: Cost
    tasks: TaskScores | None = None


@dataclass(frozen=True)
class Measurements:
    """Both engines' measurements, and how they were made."""

    base: Measured
    candidate: Measured
    room: room.Room


class CandidateFailed(Exception):
    """The candidate does not load, or died: a verdict, not an error. Carries what the base showed."""

    def __init__(self, reason: str, base: Measured) -> None:
        """`reason` is the log's telling line."""
        super().__init__(reason)
        self.reason = reason
        self.base = base


Tasks = Callable[[Up, str], TaskScores] | None
"""Runs benchmark tasks on an engine; the second argument names it."""


@dataclass(frozen=True)
class Pairing:
    """One gate run's engines. `known` is the base's view from an earlier run."""

    config: GateConfig
    base: Path
    candidate: Path
    weights_ratio: float
    asked: Asked
    known: View | None
    on_gpu: bool
    tasks: Tasks
    tick: Tick

    def requests(self) -> int:
        """Return how many requests there will be, for the progress bar."""
        plan = self.config.measurement
        looks = 1 if self.known else 2
        return looks * self.asked.requests() + 2 * plan.speed_rounds * speed.requests_of(plan)

    def measure(self) -> Measurements:
        """Measure both.

        Raises:
            CandidateFailed: the candidate did not become ready, died, or gave no usable answer.
            GateError: the base could not be measured, so nothing can be said about the candidate.
        """
        with _base_named(self.base), self._up(self.base, "base") as base:
            view = self.known or self._look(base, self.asked.prompts, "base")
            tasks = self.tasks(base, "base") if self.tasks else None
            decision = self._room(base.engine)
            if decision.side_by_side:
                try:
                    return self._side_by_side(base, view, tasks, decision)
                except EngineFailed as error:
                    console.print(f"beside the base: {error}. Trying alone", markup=False, soft_wrap=True)
                    decision = room.Room(False, "the candidate failed beside the base")
                except BadReply as error:
                    raise CandidateFailed(str(error), Measured(view, cost(base.engine, ()), tasks)) from error
            first = self._round(base, view, 0, "base")
            seen = Measured(view, cost(base.engine, (first,)), tasks)
        return self._in_turns(seen, decision)

    def _side_by_side(
        self, base: Up, view: View, tasks: TaskScores | None, decision: room.Room
    ) -> Measurements:
        with self._up(self.candidate, "candidate") as candidate:
            other = self._look(candidate, as_read(self.asked, view), "candidate")
            scores = self.tasks(candidate, "candidate") if self.tasks else None
            rounds: dict[str, list[Round]] = {"base": [], "candidate": []}
            for number in range(self.config.measurement.speed_rounds):
                turn = [("base", base), ("candidate", candidate)]
                for role, one in turn if number % 2 == 0 else reversed(turn):
                    rounds[role].append(self._round(one, view, number, role))
            return Measurements(
                Measured(view, cost(base.engine, rounds["base"]), tasks),
                Measured(other, cost(candidate.engine, rounds["candidate"]), scores),
                decision,
            )

    def _in_turns(self, base: Measured, decision: room.Room) -> Measurements:
        try:
            with self._up(self.candidate, "candidate") as candidate:
                other = self._look(candidate, as_read(self.asked, base.view), "candidate")
                scores = self.tasks(candidate, "candidate") if self.tasks else None
                count = self.config.measurement.speed_rounds
                rounds = [self._round(candidate, base.view, i, "candidate") for i in range(count)]
                measured = Measured(other, cost(candidate.engine, rounds), scores)
        except (EngineFailed, BadReply) as error:
            raise CandidateFailed(str(error), base) from error
        with _base_named(self.base), self._up(self.base, "base") as again:
            rounds = [
                *base.cost.rounds,
                *(self._round(again, base.view, i, "base") for i in range(1, len(rounds))),
            ]
            return Measurements(
                Measured(base.view, cost(again.engine, rounds), base.tasks), measured, decision
            )

    @contextlib.contextmanager
    def _up(self, target: Path, role: str) -> Iterator[Up]:
        with running(self.config, target, role) as engine:
            client = Client(engine.url, engine.model, timeout_s=self.config.request_timeout_s)
            with contextlib.closing(client):
                yield Up(engine, client)

    def _look(self, up: Up, prompts: Sequence[Prompt], role: str) -> View:
        asked = self.asked
        plan = self.config.measurement
        tick = self._named(role)
        return look(up.client, plan, prompts, asked.questions, asked.tool_questions, tick)

    def _round(self, up: Up, view: View, number: int, role: str) -> Round:
        prompts = [passage.ids.tolist() for passage in view.passages]
        return speed.measure_round(up.client, self.config.measurement, prompts, number, self._named(role))

    def _named(self, role: str) -> Tick:
        return lambda what: self.tick(f"{role}: {what}")

    def _room(self, engine: Engine) -> room.Room:
        return room.decide(
            argv=[str(part) for part in engine.ready.get("argv", ())],
            base_bytes=engine.memory_bytes(),
            available_bytes=room.available_bytes(),
            weights_ratio=self.weights_ratio,
            on_gpu=self.on_gpu,
        )


def as_read(asked: Asked, view: View) -> tuple[Prompt, ...]:
    """Return the prompts as the token ids that the base read."""
    return tuple(
        Prompt(passage.ids.tolist(), prompt.max_tokens)
        for prompt, passage in zip(asked.prompts, view.passages, strict=True)
    )


@contextlib.contextmanager
def _base_named(directory: Path) -> Iterator[None]:
    """Say of a failure that it is the base's; a candidate's keeps its name."""
    try:
        yield
    except (EngineFailed, BadReply) as error:
        raise GateError(
            f"the base {directory} could not be measured: {error}",
            mend="The candidate was not judged. See run/gate/base.log",
        ) from error
