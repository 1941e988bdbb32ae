"""What is logged: every entry, in files of their size, and no secret."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.core.http.private_log import PrivateLog, redact, redact_logs, timestamp, without_query

SECRET = "qs-0123abcd-ZYXwvuTSRqponMLKjihGFEdcbaZYXwvuTSRqponMLKj"


@pytest.mark.parametrize(
    "text",
    [
        f"/v1/models?api_key={SECRET}",
        f"/v1/models/{SECRET}",
        "/v1/models?api_key=hunter22&x=1",
        "/v1/models?Authorization=Bearer%20abcdefgh",
        "Authorization: Bearer hunter22hunter22",
        "{'x-api-key': 'hunter22'}",
        '{"api_key": "hunter22"}',
        "password=hunter22 and more",
        "The model `sk-hunter22hunter22` does not exist",
        "access_token=hunter22",
    ],
)
def test_secrets_are_hidden_wherever_they_stand(text: str) -> None:
    shown = without_query(text) if text.startswith("/") else redact(text)
    assert "hunter22" not in shown
    assert "abcdefgh" not in shown
    assert SECRET not in shown
    assert "[hidden]" in shown


@pytest.mark.parametrize("text", ["/v1/models", "max_tokens=5", "tokens: 12", "a task-force of risk-takers"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("propagates", [True, False])
def test_log_leaves_out_queries_keys_and_tracebacks(
    propagates: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uvicorn configures this logger, or has not: what else ran in the process must not matter.
    access = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(access, "handlers", [caplog.handler])
    monkeypatch.setattr(access, "propagate", propagates)
    redact_logs()
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, logger=access.name):
        access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1", "GET", "/v1/models?key=hunter22", "1.1", 200)
        try:
            raise ValueError(f"no such key {SECRET}")
        except ValueError:
            logging.getLogger("any").exception("it failed for %s", SECRET)
    assert "hunter22" not in caplog.text
    assert SECRET not in caplog.text
    assert "/v1/models?[hidden]" in caplog.text


def test_entries_of_many_threads_are_all_written_and_no_file_is_larger_than_it_may_be(tmp_path: Path) -> None:
    log = PrivateLog(tmp_path / "log.jsonl", 20_000, 50, what="log", mend="")

    def add(thread: int) -> None:
        for number in range(2000):
            log.add({"thread": thread, "number": number})

    threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    files = list(tmp_path.iterdir())
    entries = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {(e["thread"], e["number"]) for e in entries} == {(t, n) for t in range(4) for n in range(2000)}
    assert len(entries) == 8000
    assert log.dropped == 0
    assert all(file.stat().st_size <= 20_000 for file in files)


def test_without_a_file_nothing_is_written() -> None:
    log = PrivateLog(None, 1000, 1, what="log", mend="")
    log.add({"a": 1})
    log.close()
    assert not log.is_open


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the audit log .* cannot be written: .*\. Choose another"):
        PrivateLog(tmp_path, 1000, 1, what="audit log", mend="Choose another")


def test_times_are_in_utc_to_the_millisecond() -> None:
    assert timestamp(1_766_000_000.1239) == "2025-12-17T19:33:20.123+00:00"
