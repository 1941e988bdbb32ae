"""NVIDIA NeMo Guardrails as a step: its own configuration folder decides (requirements/guardrails.in)."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from quantserve.core.errors import UsageError
from quantserve.rag.errors import GuardFailed
from quantserve.rag.guardrails.base import Side, Verdict
from quantserve.rag.llm.background import submit


class NemoRails:
    """Runs the input or output rails of a NeMo configuration, which loads with the first text."""

    def __init__(self, folder: Path, name: str = "nemo") -> None:
        """`folder` holds config.yml and the rails.

        Raises:
            UsageError: the package is not installed, or there is no such folder.
        """
        try:
            import nemoguardrails  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "the guard step 'nemo' needs NeMo Guardrails, which is not installed",
                mend="Install it: pip install 'quantserve[guardrails]'",
            ) from error
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", mend="Name the folder that holds NeMo's config.yml")
        self._folder, self._name = folder, name
        self._lock = threading.Lock()
        self._rails: Any = None

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        return self._name

    def judge(self, text: str, side: Side, question: str) -> Verdict:
        """Run NeMo's rails of this side.

        Raises:
            GuardFailed: NeMo failed.
        """
        from nemoguardrails import LLMRails, RailsConfig
        from nemoguardrails.rails.llm.options import RailStatus, RailType

        messages = [{"role": "user", "content": text if side == "input" else question}]
        if side == "output":
            messages.append({"role": "assistant", "content": text})
        # NeMo raises whatever its model client and its flows raise.
        try:
            with self._lock:
                if self._rails is None:
                    self._rails = LLMRails(RailsConfig.from_path(str(self._folder)))
            work = self._rails.check_async(messages, rail_types=[RailType(side)])
            result = submit(asyncio.wait_for(work, None)).result()
        except Exception as error:
            raise GuardFailed(f"NeMo Guardrails failed: {error}", mend=f"Look at {self._folder}") from error
        if result.status == RailStatus.BLOCKED:
            return Verdict(text, f"NeMo's rail '{result.rail or 'unnamed'}'")
        changed = result.status == RailStatus.MODIFIED
        return Verdict(result.content if changed else text, notes=("changed by NeMo",) if changed else ())
