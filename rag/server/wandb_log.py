"""Weights & Biases, when a project is named: one row an answer, numbers only."""

from __future__ import annotations

import importlib
from typing import Any

from quantserve.core.errors import UsageError
from quantserve.rag.server.exchange import Exchange


class WandbLog:
    """Logs to one run; without a project nothing is imported."""

    def __init__(self, project: str) -> None:
        """Begin a run.

        Raises:
            UsageError: wandb is not installed.
        """
        self._run: Any = None
        if not project:
            return
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise UsageError(
                "--wandb needs the package wandb, which is not installed",
                mend="Install requirements/wandb.in into .venvs/rag, or leave --wandb out",
            ) from error
        self._run = wandb.init(project=project, job_type="rag-serve")

    def request(self, exchange: Exchange) -> None:
        """Log an answer's figures."""
        answer = exchange.answer
        if self._run is None or answer is None:
            return
        row: dict[str, float | int] = {"seconds/request": exchange.seconds, "status": exchange.status}
        row |= {f"seconds/{stage}": value for stage, value in answer.seconds.items()}
        if answer.prompt_tokens is not None:
            row["tokens/prompt"] = answer.prompt_tokens
        if answer.completion_tokens is not None:
            row["tokens/completion"] = answer.completion_tokens
        row["cached"] = int(bool(answer.cached))
        row["passages"] = len(answer.passages)
        self._run.log(row)

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None
