"""Lines of a batch, and what an output file left by a killed run keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import ResourceError
from quantserve.serving.batch.lines import BadLine, error_line, read_request, response_line
from quantserve.serving.batch.output import open_output

GOOD = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}


def changed(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


def test_request_is_read() -> None:
    request = read_request(1, json.dumps(GOOD))
    assert (request.custom_id, request.url, request.body) == ("a", "/v1/chat/completions", {"messages": []})


@pytest.mark.parametrize(
    ("text", "custom_id", "code", "says"),
    [
        ("{", None, "invalid_json", "line 7 is not JSON"),
        ("[]", None, "invalid_request", "line 7"),
        (changed(custom_id=3), None, "invalid_request", "custom_id"),
        (changed(method="GET"), "a", "invalid_request", "method"),
        (changed(body="x"), "a", "invalid_request", "body"),
        (changed(more=1), "a", "invalid_request", "more"),
        (changed(url="/v1/load_lora_adapter"), "a", "invalid_url", "/v1/completions"),
        (changed(url="http://elsewhere/v1/completions"), "a", "invalid_url", "elsewhere"),
        (changed(body={"stream": True}), "a", "invalid_request", "cannot stream"),
    ],
)
def test_bad_line_says_what_is_wrong_and_whose_it_is(
    text: str, custom_id: str | None, code: str, says: str
) -> None:
    with pytest.raises(BadLine) as caught:
        read_request(7, text)
    assert (caught.value.custom_id, caught.value.code) == (custom_id, code)
    assert says in caught.value.message


def test_output_lines_have_openais_shape() -> None:
    answered = json.loads(response_line("a", 200, "r1", {"x": 1}))
    assert answered == {
        "id": "batch_req_r1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "r1", "body": {"x": 1}},
        "error": None,
    }
    failed = json.loads(error_line(BadLine(None, "invalid_json", "line 2 is not JSON"), 2))
    assert failed["response"] is None
    assert failed["error"] == {"code": "invalid_json", "message": "line 2 is not JSON"}


def test_torn_bad_and_failed_lines_are_taken_out_and_finished_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    whole = response_line("a", 200, "1", {}) + response_line("b", 400, "2", {})
    again = response_line("c", 503, "3", {}) + error_line(BadLine("d", "invalid_url", "x"), 4)
    torn = response_line("e", 200, "5", {})[:-20]
    path.write_text(whole + again + torn, encoding="utf-8")
    with open_output(path) as output:
        assert output.finished == {"a", "b"}
        assert path.read_text(encoding="utf-8") == whole
        output.add(response_line("e", 200, "6", {}))
        assert path.read_text(encoding="utf-8") == whole + response_line("e", 200, "6", {})


def test_line_without_its_end_is_torn_even_if_it_reads_well(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(response_line("a", 200, "1", {}).rstrip("\n"), encoding="utf-8")
    with open_output(path) as output:
        assert output.finished == set()
    assert path.read_text(encoding="utf-8") == ""


def test_two_batches_never_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with open_output(path), pytest.raises(ResourceError, match="already running"), open_output(path):
        pass
