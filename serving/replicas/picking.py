"""Which replica a request goes to: a choice in memory, from what the front itself has seen. Pure.

least_running   the one with the fewest requests on their way
cache_aware     the one that was sent the longest equal beginning, unless it is much busier than another
sticky          the one that the session was sent to before

What all of them share: equal replicas take turns, so that one user alone fills every cache and not the first
one's (sglang#32983); and a replica that was away rests, since one that fails at once always looks idle.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from quantserve.serving.replicas.config import CACHE_AWARE, STICKY, PickingOptions

SESSION_HEADER = b"x-session-id"
_SESSION_FIELDS = ("prompt_cache_key", "user")
"""What OpenAI's API has for it; the newer one first."""
_PROMPT_FIELDS = ("tools", "system", "instructions", "messages", "prompt", "input")
"""In the order in which a template writes them."""


@dataclass(frozen=True, slots=True)
class Affinity:
    """What of a request the choice depends on."""

    blocks: tuple[int, ...] = ()
    """One number for each whole block of the prompt, which stands for all of the prompt up to its end."""
    session: int | None = None
    """Stands for the session's name."""


def affinity_of(
    options: PickingOptions, headers: Mapping[bytes, bytes], body: bytes, caller: Hashable = None
) -> Affinity:
    """Read as much of a request as the policy asks for.

    `caller` tells apart those whose caches the engine keeps apart; so do the model and a `cache_salt`.
    """
    if options.policy == STICKY:
        fields = {} if SESSION_HEADER in headers else _fields(body, options.most_read_bytes)
        names = (headers.get(SESSION_HEADER), *(fields.get(name) for name in _SESSION_FIELDS))
        session = next((name for name in names if name and isinstance(name, bytes | str)), None)
        return Affinity(session=hash((caller, session)) if session is not None else None)
    if options.policy == CACHE_AWARE:
        fields = _fields(body, options.most_read_bytes)
        prompt = prompt_of(fields, options.block_bytes * options.most_blocks)
        seed = (caller, str(fields.get("model")), str(fields.get("cache_salt")))
        return Affinity(blocks=blocks_of(prompt, options.block_bytes, seed))
    return Affinity()


def prompt_of(fields: Mapping[str, Any], most_bytes: int) -> bytes:
    """Return the first bytes of what the model reads, b"" where there is no prompt."""
    found = b""
    for name in _PROMPT_FIELDS:
        value = fields.get(name)
        parts = value if name == "messages" and isinstance(value, list) else [value]
        for part in parts:
            if part and len(found) < most_bytes:
                found += _written(part)
    return found[:most_bytes]


def blocks_of(prompt: bytes, block_bytes: int, seed: Hashable) -> tuple[int, ...]:
    """Return a chain of hashes, one for each whole block: equal beginnings have equal first numbers.

    Python's hash of bytes is keyed anew in each process, so nobody outside can make two prompts collide.
    """
    link = hash(seed)
    ends = range(block_bytes, len(prompt) + 1, block_bytes)
    return tuple([link := hash((link, prompt[end - block_bytes : end])) for end in ends])


def _fields(body: bytes, most_bytes: int) -> dict[str, Any]:
    """The body's JSON object; empty for what is none, which the guard will say, or is too long."""
    if len(body) > most_bytes:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested deeper than it writes, though it reads it: no prompt looks so
        return b""


@dataclass(slots=True)
class _Candidate:
    """What is known of one replica that gets requests."""

    name: str
    rests_until: float = 0.0
    chosen: int = 0
    """The turn in which it was chosen last."""
    blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Blocks it was sent, the least recent first. A prompt's first block is its most recent, so that what is
    forgotten first is the end of a prompt, as in the engine."""

    def matched(self, blocks: tuple[int, ...]) -> int:
        """Return how many blocks from the beginning it was sent before."""
        for before, block in enumerate(blocks):
            if block not in self.blocks:
                return before
        return len(blocks)

    def remember(self, blocks: tuple[int, ...], most: int) -> None:
        """Note that it gets these."""
        for block in reversed(blocks):
            self.blocks[block] = None
            self.blocks.move_to_end(block)
        while len(self.blocks) > most:
            self.blocks.popitem(last=False)


class Picker:
    """Chooses, and remembers what it chose. Times are of any clock that only advances, in seconds."""

    def __init__(self, options: PickingOptions) -> None:
        """Nothing is known of any replica."""
        self.options = options
        self.running: Counter[str] = Counter()
        """Requests on their way, by replica; the front counts."""
        self._candidates: dict[str, _Candidate] = {}
        self._sessions: OrderedDict[int, str] = OrderedDict()
        self._turns = count(1)

    def add(self, name: str) -> None:
        """Choose this one from now on; nothing is in its cache."""
        self._candidates[name] = _Candidate(name)

    def remove(self, name: str) -> None:
        """Choose it no more."""
        self._candidates.pop(name, None)

    def failed(self, name: str, now: float) -> None:
        """Note that it was away: it rests a moment, and what it had cached is gone."""
        candidate = self._candidates.get(name)
        if candidate is not None:
            candidate.rests_until = now + self.options.rest_s
            candidate.blocks.clear()

    def choose(self, affinity: Affinity, now: float, without: Collection[str] = ()) -> str | None:
        """Return the replica for a request, None where there is none but those it was not for."""
        left = [each for name, each in self._candidates.items() if name not in without]
        awake = [each for each in left if each.rests_until <= now] or left
        if not awake:
            return None
        if affinity.session is not None:
            chosen = self._by_session(affinity.session, awake)
        elif affinity.blocks:
            chosen = self._by_prompt(affinity.blocks, awake)
        else:
            chosen = min(awake, key=self._load)
        chosen.chosen = next(self._turns)
        return chosen.name

    def _load(self, candidate: _Candidate) -> tuple[int, int]:
        return self.running[candidate.name], candidate.chosen

    def _by_session(self, session: int, awake: list[_Candidate]) -> _Candidate:
        before = self._sessions.get(session)
        chosen = next((each for each in awake if each.name == before), None) or min(awake, key=self._load)
        self._sessions[session] = chosen.name
        self._sessions.move_to_end(session)
        if len(self._sessions) > self.options.most_sessions:
            self._sessions.popitem(last=False)
        return chosen

    def _by_prompt(self, blocks: tuple[int, ...], awake: list[_Candidate]) -> _Candidate:
        """Look for the prompt among those that are not much busier than the idlest."""
        options, running = self.options, self.running
        chosen = idlest = min(awake, key=self._load)
        least = running[idlest.name]
        most = max(least + options.imbalance, least * options.imbalance_ratio)
        longest = 0
        for each in awake:
            matched = each.matched(blocks) if running[each.name] <= most else 0
            if matched > longest or (matched == longest > 0 and self._load(each) < self._load(chosen)):
                chosen, longest = each, matched
        if longest < options.match * len(blocks):
            chosen = idlest
        chosen.remember(blocks, options.most_blocks_kept)
        return chosen
