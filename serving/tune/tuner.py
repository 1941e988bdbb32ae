"""Compare two sets of settings by measured pairs: the shell between the search and the engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quantserve.core.console import console
from quantserve.serving.errors import EngineDied, EngineNotReady
from quantserve.serving.profiles import Profile
from quantserve.serving.tune.decide import Gain, Rule, Verdict, gain, judge
from quantserve.serving.tune.engines import Running
from quantserve.serving.tune.journal import Journal
from quantserve.serving.tune.search import Comparison
from quantserve.serving.tune.space import Changes, with_changes
from quantserve.serving.tune.write import line_of

CONFIRM = Rule(first_look=5, most_pairs=8)
"""The last comparison looks later and asks more often."""


@dataclass(frozen=True)
class Instruments:
    """What reaches outside: engines by profile, and a score of a running engine under a seed."""

    engine: Callable[[Profile], Running]
    keep: Callable[[Profile], None]
    """The engine of this profile is needed soon: another makes room before it does."""
    score: Callable[[Running, int], float]


class Tuner:
    """Makes comparisons, shows them, and keeps them in the journal."""

    def __init__(self, start: Profile, instruments: Instruments, journal: Journal, rule: Rule) -> None:
        """`start` is the profile that all changes are made to."""
        self._start = start
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

    def _settled(self, kind: str, candidate: Changes, incumbent: Changes, rule: Rule) -> Comparison:
        known = self._journal.get(kind, candidate, incumbent)
        if known is not None:
            console.print(f"  {line_of(known)} (measured before)", markup=False, soft_wrap=True)
            return known
        outcome = self._measure(candidate, incumbent, rule)
        self._journal.add(kind, outcome)
        console.print(f"  {line_of(outcome)}", markup=False, soft_wrap=True)
        return outcome

    def _measure(self, candidate: Changes, incumbent: Changes, rule: Rule) -> Comparison:
        profiles = [with_changes(self._start, changes) for changes in (candidate, incumbent)]
        pairs: list[tuple[float, float]] = []
        self._instruments.keep(profiles[1])
        try:
            self._instruments.engine(profiles[0])
        except (EngineDied, EngineNotReady) as error:
            self._instruments.engine(profiles[1])  # raises where it is not the candidate's fault
            none = Gain(0.0, None, None, 0)
            return Comparison(incumbent, candidate, Verdict.STAYS, none, (), f"does not start: {error}")
        while (verdict := judge(pairs, rule)) is Verdict.GO_ON:
            pairs.append(self._pair(profiles, len(pairs)))
        return Comparison(incumbent, candidate, verdict, gain(pairs), tuple(pairs))

    def _pair(self, profiles: list[Profile], number: int) -> tuple[float, float]:
        """Measure both once with the same prompts, taking turns in who comes first."""
        self._seed += 1
        scores: dict[int, float] = {}
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            with console.status(f"pair {number + 1}: {'candidate' if side == 0 else 'best so far'} …"):
                engine = self._instruments.engine(profiles[side])
                scores[side] = self._instruments.score(engine, self._seed)
        return scores[0], scores[1]
