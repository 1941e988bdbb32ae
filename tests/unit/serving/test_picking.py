"""Which replica is chosen: properties that hold whatever was asked before, and the examples behind them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.serving.replicas.config import POLICIES, PickingOptions
from quantserve.serving.replicas.picking import Affinity, Picker, affinity_of, blocks_of, prompt_of

NAMES = ("1", "2", "3")
SYSTEM = "You are a careful assistant who answers from the documents it is given. " * 20
BLOCKS = st.lists(st.integers(0, 3), max_size=6).map(lambda parts: blocks_of(bytes(parts), 1, 0))
AFFINITIES = st.builds(Affinity, BLOCKS) | st.builds(Affinity, st.just(()), st.integers(0, 5))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("choose"), AFFINITIES),
        st.tuples(st.just("end"), st.sampled_from(NAMES)),
        st.tuples(st.just("fail"), st.sampled_from(NAMES)),
        st.tuples(st.just("add"), st.sampled_from(NAMES)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    ),
    max_size=60,
)


def picker_of(policy: str = "least_running", names: tuple[str, ...] = NAMES, **options: Any) -> Picker:
    picker = Picker(PickingOptions(policy=policy, **options))
    for name in names:
        picker.add(name)
    return picker


def take(picker: Picker, session: int | None = None) -> str:
    """Choose, and begin a request there."""
    name = picker.choose(Affinity(session=session), 0.0)
    assert name is not None
    picker.running[name] += 1
    return name


@given(policy=st.sampled_from(POLICIES), steps=STEPS, without=st.sets(st.sampled_from(NAMES)))
def test_whatever_happened_before_a_replica_is_chosen_that_may_be(
    policy: str, steps: list[tuple[str, Any]], without: set[str]
) -> None:
    picker = picker_of(policy, (), most_blocks_kept=8, most_sessions=3)
    there: set[str] = set()
    rests: dict[str, float] = {}
    for now, (step, value) in enumerate(steps):
        time = now / 4
        if step == "add":
            picker.add(value)
            there.add(value)
            rests.pop(value, None)
        elif step == "remove":
            picker.remove(value)
            there.discard(value)
        elif step == "fail":
            picker.failed(value, time)
            rests[value] = time + 1.0 if value in there else 0.0
        elif step == "end":
            picker.running[value] -= picker.running[value] > 0
        else:
            left = there - without
            awake = {name for name in left if rests.get(name, 0.0) <= time} or left
            before = Counter(picker.running)
            name = picker.choose(value, time, without)
            assert (name is None) == (not left)
            if name is None:
                continue
            assert name in awake
            least = min(before[other] for other in awake)
            if value.session is None:
                assert before[name] <= max(least + 8, 1.5 * least)
            if value == Affinity():
                assert before[name] == least
            picker.running[name] += 1
        assert all(len(each.blocks) <= 8 for each in picker._candidates.values())
        assert len(picker._sessions) <= 3


@given(requests=st.lists(st.booleans(), max_size=40))
def test_requests_that_run_are_spread_evenly(requests: list[bool]) -> None:
    picker = picker_of()
    for ends in requests:
        name = take(picker)
        picker.running[name] -= ends
        counts = [picker.running[name] for name in NAMES]
        assert max(counts) - min(counts) <= 1


def test_idle_replicas_take_turns() -> None:
    picker = picker_of()
    chosen = [picker.choose(Affinity(), 0.0) for _ in range(6)]
    assert chosen == ["1", "2", "3", "1", "2", "3"]


def test_equal_beginnings_meet_and_other_prompts_take_turns() -> None:
    picker = picker_of("cache_aware")
    ours, others = Affinity((1, 2, 3)), [Affinity((9, 8)), Affinity((7, 6))]
    assert [picker.choose(each, 0.0) for each in (ours, *others)] == ["1", "2", "3"]
    longer = [Affinity((1, 2, 3, number)) for number in range(10, 16)]
    assert {picker.choose(each, 0.0) for each in longer} == {"1"}


def test_the_longest_beginning_wins() -> None:
    picker = picker_of("cache_aware")
    picker.choose(Affinity((1, 2)), 0.0)
    picker.running["1"] = 9
    assert picker.choose(Affinity((1, 2, 3, 4)), 0.0) == "2"
    picker.running["1"] = 0
    assert picker.choose(Affinity((1, 2, 3, 4, 5)), 0.0) == "2"


@pytest.mark.parametrize(
    ("running", "idlest", "expected"),
    [(8, 0, "1"), (9, 0, "2"), (24, 16, "1"), (25, 16, "2"), (60, 40, "1"), (61, 40, "2")],
)
def test_a_cached_beginning_is_left_where_its_replica_is_much_busier(
    running: int, idlest: int, expected: str
) -> None:
    picker = picker_of("cache_aware", ("1", "2"))
    assert picker.choose(Affinity((1, 2)), 0.0) == "1"
    picker.running.update({"1": running, "2": idlest})
    assert picker.choose(Affinity((1, 2)), 0.0) == expected


@pytest.mark.parametrize(("blocks", "expected"), [(3, "1"), (4, "2")])
def test_a_short_common_beginning_decides_nothing(blocks: int, expected: str) -> None:
    picker = picker_of("cache_aware", ("1", "2"))
    picker.choose(Affinity((1,)), 0.0)
    picker.running["1"] = 1
    assert picker.choose(Affinity((1, *range(10, 9 + blocks))), 0.0) == expected


def test_what_is_forgotten_first_is_the_end_of_the_oldest_prompt() -> None:
    picker = picker_of("cache_aware", ("1",), most_blocks_kept=5)
    for prompt in ((1, 2, 3), (4, 5, 6)):
        picker.choose(Affinity(prompt), 0.0)
    assert sorted(picker._candidates["1"].blocks) == [1, 2, 4, 5, 6]


def test_a_replica_that_was_away_has_nothing_cached_and_rests() -> None:
    picker = picker_of("cache_aware", ("1", "2"))
    assert picker.choose(Affinity((1, 2)), 0.0) == "1"
    picker.failed("1", 10.0)
    assert [picker.choose(Affinity(), 10.5) for _ in range(3)] == ["2", "2", "2"]
    assert picker.choose(Affinity(), 11.0) == "1"
    picker.failed("2", 20.0)
    picker.failed("1", 20.0)
    assert picker.choose(Affinity(), 20.5) is not None  # where there is no other, one that rests is asked


def test_a_session_stays_until_its_replica_is_gone() -> None:
    picker = picker_of("sticky")
    first = {number: take(picker, number) for number in range(6)}
    assert Counter(first.values()) == {"1": 2, "2": 2, "3": 2}
    picker.running[first[0]] = 100
    assert {number: picker.choose(Affinity(session=number), 0.0) for number in range(6)} == first
    picker.remove(first[0])
    moved = picker.choose(Affinity(session=0), 0.0)
    assert moved not in (None, first[0])
    picker.add(first[0])
    assert picker.choose(Affinity(session=0), 0.0) == moved


def affinity(policy: str, body: Any, caller: bytes | None = None, **headers: bytes) -> Affinity:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return affinity_of(PickingOptions(policy=policy), named, raw, caller)


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text} for text in texts], **more}


def test_turns_of_a_conversation_share_their_beginning() -> None:
    first, later = (affinity("cache_aware", chat(SYSTEM, *more)).blocks for more in ((), ("ho", "more")))
    assert len(first) == 11
    assert later[:11] == first
    assert affinity("cache_aware", chat("x" + SYSTEM)).blocks[0] != first[0]


@pytest.mark.parametrize(
    "other", [{"model": "adapter"}, {"cache_salt": "s"}, {"tools": [{"type": "function"}]}, {"system": "s"}]
)
def test_what_the_engine_caches_apart_is_counted_apart(other: dict[str, Any]) -> None:
    plain, changed = affinity("cache_aware", chat(SYSTEM)), affinity("cache_aware", chat(SYSTEM, **other))
    assert not set(plain.blocks) & set(changed.blocks)


def test_callers_whose_caches_are_apart_are_counted_apart() -> None:
    one, other = (affinity("cache_aware", chat(SYSTEM), caller=key).blocks for key in (b"a", b"b"))
    assert not set(one) & set(other)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"[1]",
            b'{"prompt": NaN',
            b"[" * 100_000,
            b'{"prompt":"\xff"}',
            b'{"messages":5,"prompt":null}',
        ),
        b'{"prompt":' + b"[" * 500 + b"]" * 500 + b"}",
        json.dumps({"prompt": "x" * (1 << 20)}).encode(),
    ],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_cannot_be_read_has_no_affinity(policy: str, body: bytes) -> None:
    assert affinity(policy, body) == Affinity()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"prompt": "abc"}, b'"abc"'),
        ({"prompt": [5, 6, 7]}, b"[5,6,7]"),
        ({"messages": [{"a": "x"}, {"b": "y"}], "tools": [1]}, b'[1]{"a":"x"}{"b":"y"}'),
        ({"instructions": "be", "input": "short"}, b'"be""short"'),
        ({"input": "x" * 100}, b'"xxxxxxxxxxxxxxxxxxx'),
    ],
)
def test_prompt_is_what_the_model_reads_in_its_order(body: dict[str, Any], expected: bytes) -> None:
    assert prompt_of(body, 20 if len(expected) == 20 else 1000) == expected


def test_only_whole_blocks_count_and_each_stands_for_all_before_it() -> None:
    assert blocks_of(b"abcdefg", 3, 0) == blocks_of(b"abcdef", 3, 0)
    assert len(blocks_of(b"abcdef", 3, 0)) == 2
    assert blocks_of(b"xbcdef", 3, 0)[1] != blocks_of(b"abcdef", 3, 0)[1]


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_blocks_are_equal_as_far_as_prompts_are(one: bytes, other: bytes) -> None:
    differs = [k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    common = differs[0] if differs else min(len(one), len(other))
    pairs = zip(blocks_of(one, 4, 0), blocks_of(other, 4, 0), strict=False)
    assert sum(a == b for a, b in pairs) == common // 4


def test_a_session_is_named_by_header_or_field_in_that_order() -> None:
    header = affinity("sticky", {"user": "ann"}, x_session_id=b"s").session
    assert header == affinity("sticky", {"user": "bob"}, x_session_id=b"s").session
    ann = affinity("sticky", {"user": "ann"}).session
    assert ann == affinity("sticky", {"user": "ann", "messages": []}).session
    assert len({header, ann, affinity("sticky", {"user": "ann", "prompt_cache_key": "k"}).session}) == 3


@pytest.mark.parametrize("body", [{}, {"user": ""}, {"user": 5}, {"user": None}])
def test_without_a_name_there_is_no_session(body: dict[str, Any]) -> None:
    assert affinity("sticky", body).session is None
