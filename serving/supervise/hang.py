"""Does a serving engine hang? A probe without a token says so only if nobody else gets any. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Tokens and steps of all requests: vLLM counts a step that only works on a long prompt in the histogram.
_WORK = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:iteration_tokens_total_count")


def work_done(metrics_text: str, engine: int = 0) -> float | None:
    """Return a number that grows with every step of an engine, None when the metrics do not hold it."""
    from prometheus_client.parser import text_string_to_metric_families

    counts = [
        sample.value
        for family in text_string_to_metric_families(metrics_text)
        for sample in family.samples
        if sample.name in _WORK and sample.labels.get("engine", "0") == str(engine)
    ]
    return sum(counts) if counts else None


@dataclass(frozen=True)
class Round:
    """One probe: did its token come, and how much work the engine had done before and after it."""

    token_came: bool
    work_before: float | None
    work_after: float | None

    @property
    def alive(self) -> bool:
        """A token came, or others got theirs: then the engine is busy, as with a full queue."""
        if self.token_came:
            return True
        return (
            self.work_before is not None
            and self.work_after is not None
            and self.work_after > self.work_before
        )


def failures_in_a_row(before: int, this: Round) -> int:
    """Return the count of probes in a row that found no life."""
    return 0 if this.alive else before + 1
