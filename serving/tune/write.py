"""The outcome as files: a profile with its evidence as comments, and every measurement as JSON beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from quantserve.core.files import write_json, write_text
from quantserve.serving.profiles import Profile
from quantserve.serving.tune.decide import Verdict
from quantserve.serving.tune.search import Comparison, Found
from quantserve.serving.tune.space import Changes


def profile_yaml(profile: Profile) -> str:
    """Return a profile as the YAML that `load_profile` reads, without what nobody set."""
    data = profile.model_dump(exclude_unset=True, mode="json")
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


def spell(changes: Changes) -> str:
    """Return settings as one line for people."""
    if not changes:
        return "the profile as it is"
    return ", ".join(f"{key}={'none' if value is None else value}" for key, value in changes.items())


def line_of(one: Comparison) -> str:
    """Return a comparison as one line for people."""
    what = spell({k: v for k, v in one.candidate.items() if one.incumbent.get(k, one) != v})
    if not what or what == "the profile as it is":
        what = spell({key: None for key in one.incumbent if key not in one.candidate}) + " (back)"
    if one.note:
        return f"{what}: {one.note}"
    pairs = f"{one.gain.pairs} pair{'s' if one.gain.pairs != 1 else ''}"
    return f"{what}: {one.gain} in {pairs}, {'wins' if one.verdict is Verdict.WINS else 'no gain'}"


def comments(found: Found, circumstances: dict[str, Any]) -> str:
    """Return the evidence as YAML comments."""
    lines = [
        "Written by: quantserve serving tune. Every measurement stands in the JSON file beside this one."
    ]
    lines += [f"{name}: {value}" for name, value in circumstances.items()]
    if found.confirmed is not None:
        kept = "taken" if found.changes else "not taken: the default stays"
        lines.append(f"Against the profile it began with, measured afresh: {found.confirmed.gain}, {kept}")
    elif not found.changes:
        lines.append("No setting won by more than the noise: the default stays.")
    if not found.complete:
        lines.append("The search was ended by its time limit before every setting had been tried.")
    lines += [f"  {line_of(one)}" for one in found.tried]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def write_profile(path: Path, profile: Profile, found: Found, circumstances: dict[str, Any]) -> Path:
    """Write the evidence, then the profile, each by one rename; return the evidence's path."""
    evidence = path.with_suffix(".evidence.json")
    write_json(
        evidence,
        {
            **circumstances,
            "changes": found.changes,
            "complete": found.complete,
            "confirmed": to_json(found.confirmed) if found.confirmed is not None else None,
            "tried": [to_json(one) for one in found.tried],
        },
    )
    write_text(path, comments(found, circumstances) + profile_yaml(profile))
    return evidence


def to_json(one: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data; an infinite ratio, which JSON has not, becomes None."""
    data = asdict(one)
    if data["gain"]["ratio"] == float("inf"):
        data["gain"]["ratio"] = None
    return data


def from_json(data: dict[str, Any], gain_of: Any) -> Comparison:
    """Rebuild a comparison; `gain_of` computes its gain from the pairs again."""
    pairs: Sequence[tuple[float, float]] = [(a, b) for a, b in data["pairs"]]
    return Comparison(
        data["incumbent"],
        data["candidate"],
        Verdict(data["verdict"]),
        gain_of(pairs),
        tuple(pairs),
        data["note"],
    )
