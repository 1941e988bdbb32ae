"""Checks before and after an answer, as steps that a TOML file puts together.

In goes a text (the question, or the answer so far); out comes a verdict: pass, pass with something masked,
or block with a reason. On a stream a window is held back until the steps have judged it.
"""

from quantserve.rag.guardrails.base import Step, Verdict
from quantserve.rag.guardrails.load import load_guardrails
from quantserve.rag.guardrails.pipeline import Guardrails
from quantserve.rag.guardrails.stream import GuardedStream

__all__ = ["GuardedStream", "Guardrails", "Step", "Verdict", "load_guardrails"]
