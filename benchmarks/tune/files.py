"""What a search leaves on disk: the profile with its evidence, every measurement, and a journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from quantserve.benchmarks.tune.search import Comparison, PairVerdict, SearchResult, gain
from quantserve.benchmarks.tune.space import Changes
from quantserve.core.files import write_json, write_text


def profile_yaml(profile: Mapping[str, Any]) -> str:
    """Return a profile as the YAML that `serving` reads."""
    return yaml.safe_dump(dict(profile), sort_keys=False, allow_unicode=True, width=1000)


def changes_line(changes: Changes) -> str:
    """Return settings as one line for people."""
    if not changes:
        return "the profile as it is"
    return ", ".join(f"{key}={'none' if value is None else value}" for key, value in changes.items())


def comparison_line(one: Comparison) -> str:
    """Return a comparison as one line for people."""
    changed = {k: v for k, v in one.candidate.items() if one.incumbent.get(k, one) != v}
    back: Changes = {key: None for key in one.incumbent if key not in one.candidate}
    what = changes_line(changed) if changed else f"{changes_line(back)} (back)"
    if one.note:
        return f"{what}: {one.note}"
    pairs = f"{one.gain.pairs} pair{'s' if one.gain.pairs != 1 else ''}"
    return f"{what}: {one.gain} in {pairs}, {'wins' if one.verdict is PairVerdict.WINS else 'no gain'}"


def write_profile(
    path: Path, profile: Mapping[str, Any], result: SearchResult, circumstances: dict[str, Any]
) -> Path:
    """Write the evidence, then the profile, each by one rename; return the evidence's path."""
    evidence = path.with_suffix(".evidence.json")
    write_json(
        evidence,
        {
            **circumstances,
            "changes": result.changes,
            "complete": result.complete,
            "confirmed": None if result.confirmed is None else _to_json(result.confirmed),
            "tried": [_to_json(one) for one in result.tried],
        },
    )
    write_text(path, _comments(result, circumstances) + profile_yaml(profile))
    return evidence


def _comments(result: SearchResult, circumstances: dict[str, Any]) -> str:
    """Return the evidence as YAML comments."""
    lines = [
        "Written by: quantserve benchmarks tune. Every measurement stands in the JSON file beside this one."
    ]
    lines += [f"{name}: {value}" for name, value in circumstances.items()]
    if result.confirmed is not None:
        taken = "taken" if result.changes else "not taken: the default stays"
        lines.append(f"Against the profile it began with, measured afresh: {result.confirmed.gain}, {taken}")
    elif not result.changes:
        lines.append("No setting won by more than the noise: the default stays.")
    if not result.complete:
        lines.append("The search was ended by its time limit before every setting had been tried.")
    lines += [f"  {comparison_line(one)}" for one in result.tried]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _to_json(one: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data; an infinite ratio, which JSON has not, becomes None."""
    data = asdict(one)
    if data["gain"]["ratio"] == float("inf"):
        data["gain"]["ratio"] = None
    return data


def _from_json(data: dict[str, Any]) -> Comparison:
    """Rebuild a comparison; its gain is computed from the pairs again."""
    pairs = tuple((a, b) for a, b in data["pairs"])
    verdict = PairVerdict(data["verdict"])
    return Comparison(data["incumbent"], data["candidate"], verdict, gain(pairs), pairs, data["note"])


class Journal:
    """What a search has settled so far, a line each, so that an interrupted one goes on where it stopped.

    The first line says what the comparisons belong to.
    """

    def __init__(self, path: Path, circumstances: dict[str, Any]) -> None:
        """Read what is there; a journal of other circumstances is begun anew."""
        self._path = path
        self._known: dict[str, Comparison] = {}
        head, *rest = _whole_lines(path) or [None]
        if head == circumstances:
            for row in rest:
                one = _from_json(row["comparison"])
                self._known[_key(row["kind"], one.candidate, one.incumbent)] = one
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(circumstances) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        """How many comparisons are settled."""
        return len(self._known)

    def get(self, kind: str, candidate: Changes, incumbent: Changes) -> Comparison | None:
        """Return a settled comparison."""
        return self._known.get(_key(kind, candidate, incumbent))

    def add(self, kind: str, one: Comparison) -> None:
        """Settle one. The line is written at once; half a line of a killed process is ignored later."""
        self._known[_key(kind, one.candidate, one.incumbent)] = one
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": kind, "comparison": _to_json(one)}) + "\n")

    def remove(self) -> None:
        """The search is over."""
        self._path.unlink(missing_ok=True)


def _key(kind: str, candidate: Changes, incumbent: Changes) -> str:
    return json.dumps([kind, candidate, incumbent], sort_keys=True)


def _whole_lines(path: Path) -> list[Any]:
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]
