"""The latencies of one request, from its stamps.

TTFT  first token minus send. TPOT  mean time per token after the first chunk. ITL  the time of each
single token: the gap before a chunk divided by its tokens. PAUSE  the gaps themselves, as a reader sees
them. E2E  last byte minus send. RESPONSE  last byte minus the intended send: in an open loop it counts
the wait of a request that could not be sent in time (coordinated omission).
"""

from __future__ import annotations

from collections.abc import Callable

from quantserve.benchmarks.records import Record

Value = Callable[[Record], float | None]


def ttft_s(record: Record) -> float | None:
    """Time to first token."""
    return record.token_s[0] - record.sent_s if record.ok and record.token_s else None


def e2e_s(record: Record) -> float | None:
    """Send to last byte."""
    return record.done_s - record.sent_s if record.ok and record.done_s is not None else None


def response_s(record: Record) -> float | None:
    """Intended send to last byte."""
    return record.done_s - record.intended_s if record.ok and record.done_s is not None else None


def send_delay_s(record: Record) -> float:
    """How late the client was."""
    return record.sent_s - record.intended_s


def chunk_tokens(record: Record) -> list[float]:
    """Tokens in each chunk: as the server said, else spread evenly over the chunks."""
    if record.token_n is not None:
        return [float(count) for count in record.token_n]
    total = record.completion_tokens
    if not total or not record.token_s:
        return []
    return [total / len(record.token_s)] * len(record.token_s)


def tpot_s(record: Record) -> float | None:
    """Time per output token after the first chunk; None with a single chunk.

    With one token per chunk this is (last - first) / (tokens - 1), as everywhere. With several, dividing
    by tokens - 1 would count the first chunk's other tokens as if their time had been measured.
    """
    if not record.ok or len(record.token_s) < 2:
        return None
    counts = chunk_tokens(record)
    later = sum(counts[1:])
    return (record.token_s[-1] - record.token_s[0]) / later if later > 0 else None


def itl_s(record: Record) -> list[float]:
    """The time of each token after the first chunk, one value per chunk with tokens."""
    if not record.ok:
        return []
    counts = chunk_tokens(record)
    gaps = pauses_s(record)
    return [gap / count for gap, count in zip(gaps, counts[1:], strict=False) if count > 0]


def pauses_s(record: Record) -> list[float]:
    """Gaps between chunks."""
    if not record.ok:
        return []
    return [b - a for a, b in zip(record.token_s, record.token_s[1:], strict=False)]


PER_REQUEST: dict[str, Value] = {"ttft": ttft_s, "tpot": tpot_s, "e2e": e2e_s, "response": response_s}
