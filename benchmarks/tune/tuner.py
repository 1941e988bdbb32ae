"""Compare two sets of settings by measured pairs: the shell between the search and the engines."""

from __future__ import annotations

import contextlib
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from quantserve.benchmarks.errors import ServerNotStarted, ServerTooLarge
from quantserve.benchmarks.processes import is_running
from quantserve.benchmarks.servers import Server
from quantserve.benchmarks.tune.files import Journal, comparison_line, profile_yaml
from quantserve.benchmarks.tune.search import Comparison, Gain, Pair, PairVerdict, StoppingRule, gain, judge
from quantserve.benchmarks.tune.space import Changes, ProfileSettings
from quantserve.core.console import console
from quantserve.core.files import write_text

CONFIRM = StoppingRule(first_look=5, most_pairs=8)
"""The last comparison looks later and asks more often."""


class Engines:
    """At most `capacity` engines at once; the one asked for longest ago makes room. A context manager."""

    def __init__(
        self, start: Callable[[Path], AbstractContextManager[Server]], profile: ProfileSettings, capacity: int
    ) -> None:
        """`start` serves with a profile's file; nothing is started before it is asked for."""
        self._start = start
        self._profile = profile
        self.capacity = capacity
        self._running: OrderedDict[str, tuple[Server, contextlib.ExitStack]] = OrderedDict()
        self._folder = tempfile.TemporaryDirectory(prefix="quantserve-tune-")
        self._started = 0

    def __enter__(self) -> Engines:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every engine, however the block ended."""
        self._make_room(0)
        self._folder.cleanup()

    def get(self, changes: Changes) -> Server:
        """Return the engine of the profile with these changes, started now if it does not run.

        Raises:
            ServerNotStarted: with the reason it gave itself.
        """
        text = profile_yaml(self._profile.changed(changes))
        if text in self._running:
            server, life = self._running[text]
            if is_running(server.pids[0]):
                self._running.move_to_end(text)
                return server
            del self._running[text]
            life.close()
        self._make_room(self.capacity - 1)
        try:
            return self._begin(text)
        except ServerTooLarge:
            if not self._running:
                raise
            self.capacity = 1  # two of them do not fit into this machine's memory
            self._make_room(0)
            return self._begin(text)

    def needed_soon(self, changes: Changes) -> None:
        """Have another engine make room before this one, if it runs."""
        text = profile_yaml(self._profile.changed(changes))
        if text in self._running:
            self._running.move_to_end(text)

    def _make_room(self, most: int) -> None:
        while len(self._running) > most:
            _, (_, life) = self._running.popitem(last=False)
            life.close()

    def _begin(self, text: str) -> Server:
        self._started += 1
        path = Path(self._folder.name) / f"{self._started}.yaml"
        write_text(path, text)
        life = contextlib.ExitStack()
        server = life.enter_context(self._start(path))
        self._running[text] = server, life
        return server


@dataclass(frozen=True)
class Instruments:
    """What reaches outside: engines by the changes to the profile, and a running one's score under a seed."""

    engine: Callable[[Changes], Server]
    needed_soon: Callable[[Changes], None]
    """The engine of these changes is needed soon: another makes room before it does."""
    score: Callable[[Server, int], float]


class Tuner:
    """Makes comparisons, shows them, and settles them in the journal."""

    def __init__(self, instruments: Instruments, journal: Journal, rule: StoppingRule) -> None:
        """`rule` is that of the search; the winner is confirmed by a stricter one."""
        self._instruments = instruments
        self._journal = journal
        self._rule = rule
        self._seed = 1000 * len(journal)  # prompts that no engine has seen, also after going on

    def compare(self, candidate: Changes, incumbent: Changes) -> Comparison:
        """Compare during the search."""
        return self._settled("search", candidate, incumbent, self._rule)

    def confirm(self, candidate: Changes, incumbent: Changes) -> Comparison:
        """Compare the winner with where it began."""
        return self._settled("confirm", candidate, incumbent, CONFIRM)

    def _settled(self, kind: str, candidate: Changes, incumbent: Changes, rule: StoppingRule) -> Comparison:
        known = self._journal.get(kind, candidate, incumbent)
        if known is not None:
            console.print(f"  {comparison_line(known)} (measured before)", markup=False, soft_wrap=True)
            return known
        outcome = self._measure(candidate, incumbent, rule)
        self._journal.add(kind, outcome)
        console.print(f"  {comparison_line(outcome)}", markup=False, soft_wrap=True)
        return outcome

    def _measure(self, candidate: Changes, incumbent: Changes, rule: StoppingRule) -> Comparison:
        pairs: list[Pair] = []
        self._instruments.needed_soon(incumbent)
        try:
            self._instruments.engine(candidate)
        except ServerNotStarted as error:
            self._instruments.engine(incumbent)  # raises where it is not the candidate's fault
            none = Gain(0.0, None, None, 0)
            why = str(error).removeprefix("the server ")
            return Comparison(incumbent, candidate, PairVerdict.STAYS, none, note=why)
        while (verdict := judge(pairs, rule)) is PairVerdict.GO_ON:
            pairs.append(self._pair(candidate, incumbent, len(pairs)))
        return Comparison(incumbent, candidate, verdict, gain(pairs), tuple(pairs))

    def _pair(self, candidate: Changes, incumbent: Changes, number: int) -> Pair:
        """Measure both once with the same prompts, taking turns in who comes first."""
        self._seed += 1
        sides = {"candidate": candidate, "best so far": incumbent}
        scores: dict[str, float] = {}
        for name in sides if number % 2 == 0 else reversed(sides):
            with console.status(f"pair {number + 1}: {name} …"):
                engine = self._instruments.engine(sides[name])
                scores[name] = self._instruments.score(engine, self._seed)
        return scores["candidate"], scores["best so far"]
