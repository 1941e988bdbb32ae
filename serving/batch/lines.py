"""One line in and one line out. Format: OpenAI's Batch API reference, request input and output objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantserve.core.json_input import BadJson, parse_json
from quantserve.serving.guard.paths import ALLOWED

URLS = tuple(
    path
    for path, methods in ALLOWED.items()
    for endpoint in methods.values()
    if endpoint.body == "json" and endpoint.queued
)


class Request(BaseModel):
    """A line of the input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    custom_id: str = Field(min_length=1, max_length=512)
    method: Literal["POST"] = "POST"
    url: str
    body: dict[str, Any]


@dataclass(frozen=True)
class BadLine(Exception):
    """A line that cannot be asked; `custom_id` is None where the line has none."""

    custom_id: str | None
    code: str
    message: str


def read_request(number: int, text: str) -> Request:
    """Read a line.

    Raises:
        BadLine: it is no request that a batch can hold.
    """
    try:
        data = parse_json(text)
    except BadJson as error:
        raise BadLine(None, "invalid_json", f"line {number} is not JSON: {error}") from error
    given = data.get("custom_id") if isinstance(data, dict) else None
    name = given if isinstance(given, str) else None
    try:
        request = Request.model_validate(data)
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"]) or "the line"
        raise BadLine(name, "invalid_request", f"line {number}: {where}: {found['msg']}") from error
    if request.url not in URLS:
        message = f"line {number}: there is no {request.url} here; known: {', '.join(URLS)}"
        raise BadLine(name, "invalid_url", message)
    if request.body.get("stream"):
        raise BadLine(name, "invalid_request", f"line {number}: a batch cannot stream; leave out body.stream")
    return request


def response_line(custom_id: str, status: int, request_id: str, body: Any) -> str:
    """Return the output line of an answer, whatever its status."""
    response = {"status_code": status, "request_id": request_id, "body": body}
    return _line(custom_id, request_id, response, None)


def error_line(bad: BadLine, number: int) -> str:
    """Return the output line of a line that was not asked."""
    return _line(bad.custom_id, f"line-{number}", None, {"code": bad.code, "message": bad.message})


def _line(custom_id: str | None, identity: str, response: Any, error: Any) -> str:
    entry = {"id": f"batch_req_{identity}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(entry, ensure_ascii=False) + "\n"
