"""What the short prompts say about an artifact, as checks. Pure.

short prompts       McNemar's one-sided exact test against the base as served and against the base in
                    float32; worse only where both say so. To reject only where each of two level-α tests
                    does is itself a test of level α (intersection-union; Berger 1982, Technometrics 24),
                    and a base that was lucky in one of its arithmetics is not the measure.
in one language     the same on one of several judged languages, at α over their number (Bonferroni)
short answers       the same two tests on whether there is an answer that does not repeat itself, at a
                    fifth of α: it is there to find nonsense, and must not double the false alarms
greedy divergence   how likely a token is the first that differs from the base's, beyond the noise floor
"""

from __future__ import annotations

from collections.abc import Sequence

from quantserve.quantize.gate.facts.comparing import Divergence, FactFindings, FactMark, Paired
from quantserve.quantize.gate.judge.thresholds import GateCheck, Thresholds

FEWEST = 5
"""Right answers of the base below which no loss can be told from chance: 2^-4 is more than 0.05."""
_NAMED = 3


def fact_checks(facts: FactFindings | None, limits: Thresholds) -> tuple[GateCheck, ...]:
    """Return the checks; none where nothing was asked."""
    if facts is None or not facts.marks:
        return ()
    languages = tuple(dict.fromkeys(mark.language for mark in facts.marks))
    checks = [_right(facts, limits.min_p, None)]
    if len(languages) > 1:
        checks += [_right(facts, limits.min_p / len(languages), language) for language in languages]
    return (
        *checks,
        _floor(facts),
        _well_formed(facts, limits.min_p / 5),
        _divergence(facts, limits.divergence_limit),
    )


def _right(facts: FactFindings, alpha: float, language: str | None) -> GateCheck:
    served, exact = facts.candidate_against_base(language), facts.candidate_against_float32(language)
    name = "short prompts" if language is None else f"short prompts, {language}"
    base, candidate = (f"{right} of {served.asked} right" for right in (served.before, served.after))
    if served.before < FEWEST:
        return GateCheck(name, "the base answers too few", base=base, candidate=candidate)
    told = "" if exact is None else f"against the base in float32 {_change(exact)}; "
    return GateCheck(
        name,
        *_judged(served, exact, alpha),
        base=base,
        candidate=candidate,
        detail=told + "lost: " + _named(facts.lost(), language),
    )


def _floor(facts: FactFindings) -> GateCheck:
    name, own = "short prompts, base against itself", facts.float32_against_base()
    if own is None:
        return GateCheck(name, facts.no_floor or "unknown")
    base, candidate = f"{own.before} of {own.asked} right", f"{own.after} right in float32"
    return GateCheck(name, _change(own), base=base, candidate=candidate)


def _well_formed(facts: FactFindings, alpha: float) -> GateCheck:
    served, exact = facts.well_formed(), facts.well_formed_against_float32()
    return GateCheck(
        "short answers",
        *_judged(served, exact, alpha),
        base=f"{served.before} of {served.asked} well formed",
        candidate=f"{served.after} of {served.asked} well formed",
        detail="" if exact is None else f"against the base in float32 {_change(exact)}",
    )


def _divergence(facts: FactFindings, limit: float) -> GateCheck:
    name, found, floor = "greedy divergence, a token", facts.divergence, facts.floor
    if found is None:
        return GateCheck(name, "unknown")
    beyond = found.rate - (floor.rate if floor else 0.0)
    return GateCheck(
        name,
        f"{beyond:+.1%} beyond the floor" if floor else f"{beyond:+.1%}",
        f"≤ {limit:+.1%}",
        beyond <= limit,
        base="no floor" if floor is None else f"{floor.rate:.1%} in float32",
        candidate=f"{found.rate:.1%}",
        detail=_same(found, floor),
    )


def _same(found: Divergence, floor: Divergence | None) -> str:
    own = "" if floor is None else f", in float32 {floor.same_share:.0%}"
    return f"{found.same_share:.0%} of the answers are the base's to the last token{own}"


def _change(one: Paired) -> str:
    return f"{one.lost} lost, {one.won} won, p = {one.p:.2g}"


def _judged(served: Paired, exact: Paired | None, alpha: float) -> tuple[str, str, bool]:
    """Return value, limit and outcome: the comparison that decides is float32's where the other is chance."""
    both = (served,) if exact is None else (served, exact)
    value = _change(served)
    if exact is not None and served.p < alpha <= exact.p:
        value = f"{_change(exact)} against float32"
    return value, f"p ≥ {alpha:.3g}", any(one.p >= alpha for one in both)


def _named(lost: Sequence[FactMark], language: str | None) -> str:
    some = [mark for mark in lost if language in (None, mark.language)]
    named = ", ".join(f"{mark.question!r}" for mark in some[:_NAMED])
    return (named + (f" and {len(some) - _NAMED} more" if len(some) > _NAMED else "")) or "none"
