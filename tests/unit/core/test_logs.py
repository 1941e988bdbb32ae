from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.core.logs import follow, telling_line

PREFIX = "(EngineCore pid=9) ERROR 11-22 09:01:38 [core.py:1512] "


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("a\nb\n", "b"),
        ("loading\nRuntimeError: no such kernel\ngoodbye\n", "RuntimeError: no such kernel"),
        (
            "(APIServer pid=1) pydantic.ValidationError: 1 validation error for SchedulerConfig\n"
            "(APIServer pid=1)   Value error, too small. [type=value_error, input_value=1, input_type=int]\n"
            "(APIServer pid=1)     For further information visit https://errors.pydantic.dev/\n",
            "pydantic.ValidationError: 1 validation error for SchedulerConfig: Value error, too small.",
        ),
        (
            "pydantic.ValidationError: 2 validation errors for Config\nfield\n"
            "  Field required [type=missing, input_value={}]\nother\n",
            "pydantic.ValidationError: 2 validation errors for Config: field: Field required",
        ),
        (
            f"{PREFIX}ValueError: no room\n"
            "(APIServer pid=1) RuntimeError: Engine core initialization failed. See",
            "ValueError: no room",
        ),
        (
            "usage: api_server.py\napi_server.py: error: unrecognized arguments: --oops\n",
            "error: unrecognized arguments: --oops",
        ),
        (
            f"{PREFIX}torch.OutOfMemoryError: CUDA out of memory\nok",
            "torch.OutOfMemoryError: CUDA out of memory",
        ),
    ],
)
def test_most_telling_line(log: str, line: str) -> None:
    assert telling_line(log) == line


def test_workers_death_by_signal_is_more_telling_than_what_it_causes() -> None:
    log = (
        f"{PREFIX}Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting down executor.\n"
        f"{PREFIX}RuntimeError: cancelled\n"
    )
    assert telling_line(log) == (
        "Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting down executor."
    )


def test_follow_gives_what_is_added(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n", encoding="utf-8")
    lines = follow(path, poll_s=0.01)
    assert next(lines) == "old\n"
    with path.open("a", encoding="utf-8") as stream:
        stream.write("new\n")
    assert next(lines) == "new\n"
