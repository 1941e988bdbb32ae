"""How fast can a regular expression's matching time grow with its text? Told from the expression itself.

Python's engine backtracks. It takes more than linear time where a text can be read in more than one way and
none of them succeeds (Weber and Seidl, On the degree of ambiguity of finite automata, 1991):

    polynomial   states p and q and a text v with p → p, p → q and q → q on v, and failure possible after q
    exponential  a state p and a text v with p → p on v in two ways

A search that may begin anywhere is the same with a loop over all characters in front. Counted repeats of up
to a few hundred are a constant factor and no loop. Lookaheads are looked at as expressions of their own, and
taken as true; a lookbehind of one character and \\b at the beginning hold a search to the places they allow.
"""

from __future__ import annotations

import re
import re._constants as c
import re._parser as parser
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

_MOST_COPIES = 3
_MOST_COUNTED = 512
_WORD = re.compile(r"\w")
_SPACE = re.compile(r"\s")
_DIGIT = re.compile(r"\d")

Chars = frozenset[int]


@dataclass
class Automaton:
    """Nodes with empty edges and edges on sets of characters; `ends` are edges that need the text's end."""

    alphabet: tuple[int, ...]
    empty: dict[int, list[int]] = field(default_factory=dict)
    moves: dict[int, list[tuple[Chars, int]]] = field(default_factory=dict)
    guards: set[int] = field(default_factory=set)
    """Nodes that can be passed only at the text's end, or before certain characters: failure is possible."""
    size: int = 0

    def node(self) -> int:
        self.size += 1
        return self.size - 1

    def link(self, start: int, end: int) -> None:
        self.empty.setdefault(start, []).append(end)

    def move(self, start: int, chars: Chars, end: int) -> None:
        self.moves.setdefault(start, []).append((chars, end))

    def closure(self, start: int, *, through_guards: bool = True) -> dict[int, int]:
        """Nodes reached without a character, with the number of ways (two stands for more)."""
        ways: dict[int, int] = {}

        def walk(node: int, seen: frozenset[int]) -> None:
            if ways.get(node, 0) >= 2:
                return
            ways[node] = ways.get(node, 0) + 1
            for after in self.empty.get(node, ()):
                if after not in seen and (through_guards or after not in self.guards):
                    walk(after, seen | {after})

        walk(start, frozenset({start}))
        return ways


def _codes(tree: Any) -> Iterator[int]:
    """The characters that stand in a parsed pattern."""
    for op, value in tree:
        if op in (c.LITERAL, c.NOT_LITERAL):
            yield value
        elif op is c.RANGE:
            yield from value
        elif op is c.IN:
            yield from _codes(value)
        elif op is c.SUBPATTERN:
            yield from _codes(value[3])
        elif op is c.BRANCH:
            for branch in value[1]:
                yield from _codes(branch)
        elif op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
            yield from _codes(value[2])
        elif op in (c.ASSERT, c.ASSERT_NOT):
            yield from _codes(value[1])
        elif op is c.ATOMIC_GROUP:
            yield from _codes(value)


def _representatives(tree: Any, most: int) -> tuple[int, ...]:
    """Enough characters to tell apart all classes of a pattern: its own, their neighbours, a few others."""
    found = set(_codes(tree)) | {ord(ch) for ch in "aZ0_ \n\r\t-.é한、\x00"}
    found |= {code + step for code in list(found) for step in (-1, 1)}
    return tuple(sorted(code for code in found if 0 <= code < most))


class _Builder:
    """Thompson's construction from the tree of Python's own parser."""

    def __init__(self, alphabet: tuple[int, ...], flags: int) -> None:
        self.nfa = Automaton(alphabet)
        self.flags = flags
        self.inner: list[Any] = []

    def chars(self, op: Any, value: Any) -> Chars | None:
        """The characters that one step takes, None where it is no such step."""
        alphabet = self.nfa.alphabet
        if op is c.LITERAL:
            return self._folded({value})
        if op is c.NOT_LITERAL:
            return frozenset(alphabet) - self._folded({value})
        if op is c.ANY:
            return frozenset(alphabet) if self.flags & re.DOTALL else frozenset(alphabet) - {10}
        if op is c.CATEGORY:
            return self._category(value)
        if op is not c.IN:
            return None
        found: set[int] = set()
        negated = False
        for inner, what in value:
            if inner is c.NEGATE:
                negated = True
            elif inner is c.RANGE:
                found |= {code for code in alphabet if what[0] <= code <= what[1]}
            elif inner is c.LITERAL:
                found.add(what)
            else:
                found |= self._category(what)
        folded = self._folded(found)
        return frozenset(alphabet) - folded if negated else folded

    def _folded(self, codes: set[int]) -> Chars:
        if self.flags & re.IGNORECASE:
            cases = [v for code in codes for v in (chr(code).lower(), chr(code).upper()) if len(v) == 1]
            codes = codes | {ord(v) for v in cases}
        return frozenset(codes).intersection(self.nfa.alphabet)

    def _category(self, category: Any) -> Chars:
        name = str(category)
        kind = _WORD if "WORD" in name else _SPACE if "SPACE" in name else _DIGIT
        inside = frozenset(code for code in self.nfa.alphabet if kind.match(chr(code)))
        return frozenset(self.nfa.alphabet) - inside if "NOT" in name else inside

    def build(self, tree: Any, start: int) -> int:
        """Add a sequence after `start`; return its end."""
        for op, value in tree:
            start = self._step(op, value, start)
        return start

    def _step(self, op: Any, value: Any, start: int) -> int:
        nfa = self.nfa
        chars = self.chars(op, value)
        if chars is not None:
            end = nfa.node()
            nfa.move(start, chars, end)
            return end
        if op is c.SUBPATTERN:
            return self.build(value[3], start)
        if op is c.ATOMIC_GROUP:
            return self.build(value, start)
        if op is c.BRANCH:
            end = nfa.node()
            for branch in value[1]:
                first = nfa.node()
                nfa.link(start, first)
                nfa.link(self.build(branch, first), end)
            return end
        if op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
            low, high, item = value
            return self._repeat(low, high, item, start)
        if op is c.AT:
            end = nfa.node()
            nfa.link(start, end)
            if value not in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
                nfa.guards.add(end)
            return end
        if op is c.GROUPREF:  # what it stands for was read before; one pass over the text as well
            return start
        if op in (c.ASSERT, c.ASSERT_NOT):
            self.inner.append(value[1])
            end = nfa.node()
            nfa.link(start, end)
            nfa.guards.add(end)
            return end
        raise NotImplementedError(f"{op} is not analysed; write the pattern without it")

    def _repeat(self, low: int, high: Any, item: Any, start: int) -> int:
        nfa = self.nfa
        endless = high is c.MAXREPEAT or high > _MOST_COUNTED
        for _ in range(min(low, _MOST_COPIES)):
            start = self.build(item, start)
        if not endless:
            end = nfa.node()
            nfa.link(start, end)
            for _ in range(min(high - min(low, high), _MOST_COPIES)):
                start = self.build(item, start)
                nfa.link(start, end)
            return end
        loop, end = nfa.node(), nfa.node()
        nfa.link(start, loop)
        nfa.link(self.build(item, loop), loop)
        nfa.link(loop, end)
        return end


def _barred(tree: Any, builder: _Builder) -> Chars:
    """The characters after which a search cannot begin: lookbehind, ^ of a line, \\b before a word."""
    everything, found = frozenset(builder.nfa.alphabet), frozenset[int]()
    for at, (op, value) in enumerate(tree):
        if op is c.SUBPATTERN:
            return found | _barred(value[3], builder)
        if op is c.AT and value is c.AT_BEGINNING and builder.flags & re.MULTILINE:
            found |= everything - {ord("\n")}
        elif op is c.AT and value is c.AT_BOUNDARY:
            word = builder._category("CATEGORY_WORD")
            first = _first(tree[at + 1 :], builder)
            found |= word if first and first <= word else frozenset()
        elif op in (c.ASSERT, c.ASSERT_NOT):
            if value[0] == -1:
                chars = builder.chars(*value[1][-1])
                if chars is not None and (op is c.ASSERT or len(value[1]) == 1):
                    found |= chars if op is c.ASSERT_NOT else everything - chars
        else:
            break
    return found


def _alternatives(tree: list[Any]) -> list[list[Any]]:
    """A pattern as the alternatives it tries one after the other; each takes its own time."""
    for at, (op, value) in enumerate(tree):
        inner = value[3] if op is c.SUBPATTERN else None
        if op is c.BRANCH:
            return (
                [found for branch in value[1] for found in _alternatives([*branch, *tree[at + 1 :]])]
                if (at == 0)
                else [[*tree[:at], *branch, *tree[at + 1 :]] for branch in value[1]]
            )
        if inner is not None and any(step is c.BRANCH for step, _ in inner):
            return _alternatives([*tree[:at], *inner, *tree[at + 1 :]])
        if op not in (c.AT, c.ASSERT, c.ASSERT_NOT):
            break
    return [tree]


def _first(tree: Any, builder: _Builder) -> Chars | None:
    """The characters that a sequence can begin with; None where it can be empty."""
    for op, value in tree:
        chars = builder.chars(op, value)
        if chars is not None:
            return chars
        if op is c.SUBPATTERN:
            return _first(value[3], builder)
        if op is c.BRANCH:
            sets = [_first(branch, builder) for branch in value[1]]
            known = [found for found in sets if found is not None]
            return frozenset[int]().union(*known) if len(known) == len(sets) else None
        if op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT) and value[0] > 0:
            return _first(value[2], builder)
        if op not in (c.ASSERT, c.ASSERT_NOT):
            return None
    return None


def growth(pattern: str | bytes, flags: int = 0, *, search: bool = True, full: bool = False) -> str:
    """Return "linear", "polynomial" or "exponential"; `full` is a fullmatch, which must reach the end."""
    tree = parser.parse(pattern, flags)
    most = 256 if isinstance(pattern, bytes) else 0x110000
    alphabet, flags = _representatives(tree, most), tree.state.flags | flags
    found = "linear"
    todo = [(alternative, search, full) for alternative in _alternatives(list(tree))]
    while todo:
        steps, anywhere, whole = todo.pop()
        builder = _Builder(alphabet, flags)
        found = max(found, _growth_of(steps, builder, search=anywhere, full=whole), key=_WORSE.index)
        todo += [(list(inner), False, False) for inner in builder.inner]
    return found


_WORSE = ("linear", "polynomial", "exponential")


def _growth_of(tree: Any, builder: _Builder, *, search: bool, full: bool) -> str:
    nfa = builder.nfa
    first = nfa.node()
    anchored = bool(tree) and tree[0][0] is c.AT and tree[0][1] in (c.AT_BEGINNING, c.AT_BEGINNING_STRING)
    accept = builder.build(tree, first)
    states, after, ways = _positions(nfa)
    accepting = {node for node in states if not full and accept in nfa.closure(node, through_guards=False)}
    if search and not (anchored and not builder.flags & re.MULTILINE):
        held, free = nfa.node(), nfa.node()
        barred = _barred(tree, builder)
        outside = [(frozenset(nfa.alphabet) - barred, free), (barred, held)]
        after[held] = list(outside)
        after[free] = outside + after.get(first, [])
        states |= {held, free}
    if any(count > 1 for count in ways.values()) and _exponential(states, after, ways, accepting):
        return "exponential"
    if _two_ways(states, after, accepting):
        return "exponential"
    return "polynomial" if _polynomial(states, after, accepting) else "linear"


Moves = dict[int, list[tuple[Chars, int]]]


def _positions(nfa: Automaton) -> tuple[set[int], Moves, dict[tuple[int, int], int]]:
    """Nodes that a character leads to, what follows each node, and in how many ways."""
    states: set[int] = set()
    after: Moves = {}
    ways: dict[tuple[int, int], int] = {}
    for node in range(nfa.size):
        for reached, count in nfa.closure(node).items():
            for chars, target in nfa.moves.get(reached, ()):
                after.setdefault(node, []).append((chars, target))
                ways[node, target] = max(ways.get((node, target), 0), count)
                states.add(target)
    return states, after, ways


def _loops(states: set[int], after: Moves, accepting: set[int]) -> dict[int, set[int]]:
    """For each state on a cycle, the states from which and to which it can come back.

    A cycle through a state where the match may end costs nothing: the match ends there at the latest.
    """
    open_ = {
        state: [move for move in after.get(state, ()) if move[1] not in accepting]
        for state in states
        if state not in accepting
    }
    reach = {state: _reached(state, open_) for state in open_}
    return {s: {t for t in reach[s] if s in reach[t]} for s in open_ if s in reach[s]}


def _reached(state: int, after: Moves) -> set[int]:
    seen: set[int] = set()
    queue = [target for chars, target in after.get(state, ()) if chars]
    while queue:
        node = queue.pop()
        if node not in seen:
            seen.add(node)
            queue.extend(target for chars, target in after.get(node, ()) if chars)
    return seen


def _exponential(
    states: set[int], after: Moves, ways: dict[tuple[int, int], int], accepting: set[int]
) -> bool:
    """Whether a cycle has an edge that can be gone in two ways."""
    loops = _loops(states, after, accepting)
    return any(count > 1 and target in loops.get(node, ()) for (node, target), count in ways.items())


def _two_ways(states: set[int], after: Moves, accepting: set[int]) -> bool:
    """Whether some text leads from a state back to itself in two ways."""
    loops = _loops(states, after, accepting)
    for state, cycle in loops.items():
        seen: set[tuple[int, int, bool]] = set()
        todo = [(state, state, False)]
        while todo:
            one, other, parted = todo.pop()
            for chars, a in after.get(one, ()):
                for others, b in after.get(other, ()):
                    if a not in cycle or b not in cycle or not chars & others:
                        continue
                    apart = parted or a != b
                    if apart and a == b == state:
                        return True
                    if (a, b, apart) not in seen:
                        seen.add((a, b, apart))
                        todo.append((a, b, apart))
    return False


def _polynomial(states: set[int], after: Moves, accepting: set[int]) -> bool:
    """Whether p → p, p → q and q → q on one text, while nothing that began as q did could end."""
    loops = _loops(states, after, accepting)
    for p, around_p in loops.items():
        letters = _letters(after, around_p)
        for q in loops:
            if p == q or q not in _reached(p, after):
                continue
            begin = (p, p, frozenset({q}))
            todo, seen = [begin], {begin}
            while todo:
                one, middle, others = todo.pop()
                for letter in letters:
                    reached = frozenset(_by(letter, others, after))
                    if not reached or reached & accepting:
                        continue
                    for a in _by(letter, (one,), after) & around_p:
                        for m in _by(letter, (middle,), after):
                            if a == p and m == q and q in reached:
                                return True
                            if (a, m, reached) not in seen:
                                seen.add((a, m, reached))
                                todo.append((a, m, reached))
    return False


def _by(letter: int, states: Iterable[int], after: Moves) -> set[int]:
    return {target for state in states for chars, target in after.get(state, ()) if letter in chars}


def _letters(after: Moves, around: set[int]) -> list[int]:
    """One character for each class that the moves tell apart, of those on which a cycle goes on."""
    sets = {chars for moves in after.values() for chars, _ in moves if chars}
    own = [chars for state in around for chars, target in after.get(state, ()) if target in around]
    classes: dict[tuple[bool, ...], int] = {}
    for letter in sorted(frozenset[int]().union(*own)):
        classes.setdefault(tuple(letter in chars for chars in sets), letter)
    return list(classes.values())
