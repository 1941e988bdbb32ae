"""Records made by hand."""

from __future__ import annotations

from typing import Any

from quantserve.benchmarks.records import Record


def record(
    sent: float = 0.0,
    tokens: tuple[float, ...] = (1.0, 1.1, 1.2),
    *,
    counts: list[int] | None = None,
    total: int | None = None,
    task: int = 0,
    cell: str = "c",
    **fields: Any,
) -> Record:
    """A successful request; times are given from the epoch."""
    return Record(
        cell=cell,
        task=task,
        turn=0,
        intended_s=fields.pop("intended", sent),
        sent_s=sent,
        first_byte_s=tokens[0] if tokens else None,
        token_s=list(tokens),
        token_n=counts,
        done_s=fields.pop("done", tokens[-1] if tokens else sent),
        status=200,
        prompt_tokens=fields.pop("prompt_tokens", 10),
        completion_tokens=total if total is not None else sum(counts or [1] * len(tokens)),
        **fields,
    )


def failed(sent: float = 0.0, kind: str = "http_5xx", **fields: Any) -> Record:
    """A failed request."""
    return Record(
        cell=fields.pop("cell", "c"),
        task=0,
        turn=0,
        intended_s=sent,
        sent_s=sent,
        done_s=sent + 0.001,
        failure=kind,
        detail="because",
        **fields,
    )
