"""Every way an engine ends, with its clients' errors in the log: none of them is ever to blame."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.serving.supervise.cause import Death, cause

API = "(APIServer pid=7) ERROR 11-29 10:08:36 [serving.py:9] "
CORE = "(EngineCore pid=9) ERROR 11-29 10:08:36 [core.py:1512] "
NOISE = (
    f"{API}Error in preprocessing prompt inputs\n"
    f"{API}Traceback (most recent call last):\n"
    f"{API}json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n"
    "ERROR:    Exception in ASGI application\n"
    "Traceback (most recent call last):\n"
    "ValueError: the client sent Killed and Segmentation fault\n"
    "(APIServer pid=7) pydantic.ValidationError: 1 validation error for ChatCompletionRequest\n"
    'INFO:     1.2.3.4:5 - "POST /v1/chat/completions HTTP/1.1" 400 Bad Request\n'
)
DEAD = f"{API}vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace"

DEATHS: list[tuple[str, dict[str, Any], str]] = [
    ("SIGKILL", {"code": -9}, "was killed by SIGKILL (out of memory?)"),
    (
        "SIGKILL by the kernel",
        {"code": -9, "out_of_memory": True},
        "was killed by SIGKILL (out of memory: the kernel ended it)",
    ),
    (
        "SIGSEGV",
        {"code": -11, "log": "Fatal Python error: Segmentation fault\n"},
        "was killed by SIGSEGV (a fault in native code): Fatal Python error: Segmentation fault",
    ),
    (
        "SIGSEGV in silence",
        {"code": -11},
        "was killed by SIGSEGV (a fault in native code)",
    ),
    (
        "SIGILL",
        {"code": -4},
        "was killed by SIGILL (an instruction this processor lacks; see quantserve serving doctor)",
    ),
    (
        "SIGABRT",
        {
            "code": -6,
            "log": "terminate called after throwing an instance of 'c10::Error'\n  what():  no room\n",
        },
        "was killed by SIGABRT (native code gave up): what():  no room",
    ),
    ("SIGBUS", {"code": -7}, "was killed by SIGBUS (a full disk or too little shared memory?)"),
    ("a signal without a name", {"code": -40}, "was killed by signal 40"),
    (
        "the core by the engine that gave up on it",
        {
            "code": None,
            "log": f"{CORE}RuntimeError: mat1 must be a 2D tensor\n",
            "reports": ({"died": "EngineCore_DP0", "code": -15},),
        },
        "has lost its process EngineCore_DP0: RuntimeError: mat1 must be a 2D tensor",
    ),
    (
        "the core by SIGKILL",
        {"code": None, "log": DEAD, "reports": ({"died": "EngineCore_DP0", "code": -9},)},
        "has lost its process EngineCore_DP0, which was killed by SIGKILL (out of memory?)",
    ),
    (
        "a worker by SIGILL",
        {
            "code": 1,
            "log": f"{CORE}Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting down.\n"
            f"{CORE}RuntimeError: cancelled\n",
        },
        "has lost its process VllmWorker-0, which was killed by SIGILL (an instruction this processor "
        "lacks; see quantserve serving doctor)",
    ),
    (
        "an exception in the core",
        {
            "code": None,
            "log": f"{CORE}EngineCore encountered a fatal error.\n{CORE}RuntimeError: no kernel\n{DEAD}\n",
            "reports": ({"died": "EngineCore_DP0", "code": 1},),
        },
        "takes no requests any more: RuntimeError: no kernel",
    ),
    (
        "an exception in the API server",
        {"code": 1, "reports": ({"raised": "OSError: no more files"},)},
        "ended with code 1: OSError: no more files",
    ),
    (
        "a client's error in the core",
        {"code": 3, "log": f"{CORE}Failed to compile the grammar\n{CORE}ValueError: no such regex\n"},
        "ended with code 3: its log does not say why",
    ),
    ("exit 0", {"code": 0}, "ended with code 0"),
    ("exit 3", {"code": 3}, "ended with code 3: its log does not say why"),
    ("no requests any more", {"code": None}, "takes no requests any more: its log does not say why"),
]


@pytest.mark.parametrize(("known", "words"), [(d[1], d[2]) for d in DEATHS], ids=[d[0] for d in DEATHS])
def test_a_death_is_told_whatever_clients_did_before(known: dict[str, Any], words: str) -> None:
    log = known.get("log", "")
    assert cause(Death(**{"log": "", "served": True, **known})) == words
    assert cause(Death(**{"served": True, **known, "log": NOISE + log})) == words
    assert cause(Death(**{"served": True, **known, "log": log + NOISE})) == words


_LINES = st.text(alphabet=st.characters(exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))


@given(st.lists(st.one_of(_LINES, st.sampled_from(NOISE.splitlines()))), st.sampled_from([0, 3, -9, None]))
def test_no_line_of_the_api_server_is_ever_blamed(lines: list[str], code: int | None) -> None:
    log = "\n".join(f"{API}{line}" for line in lines)
    assert cause(Death(code, log, served=True)) == cause(Death(code, "", served=True))


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (
            {"code": 1, "log": f"{CORE}ValueError: no room\nRuntimeError: See root cause above."},
            "ended with code 1 while starting: ValueError: no room",
        ),
        ({"code": -9, "log": "Loading weights"}, "was killed by SIGKILL while starting (out of memory?)"),
        (
            {"code": 2, "log": "api_server.py: error: unrecognized arguments: --oops"},
            "ended with code 2 while starting: error: unrecognized arguments: --oops",
        ),
        (
            {"code": 1, "log": "", "reports": ({"died": "EngineCore_DP0", "code": -4},)},
            "has lost its process EngineCore_DP0, which was killed by SIGILL while starting (an instruction "
            "this processor lacks; see quantserve serving doctor)",
        ),
        ({"code": 1, "log": ""}, "ended with code 1 while starting: its log does not say why"),
    ],
)
def test_an_engine_that_starts_has_no_clients_so_its_whole_log_counts(
    known: dict[str, Any], words: str
) -> None:
    assert cause(Death(**{**known, "served": False})) == words
