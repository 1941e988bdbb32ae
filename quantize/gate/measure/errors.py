"""What can go wrong while measuring. A verdict is not an error: it has its own exit code.

GateError                the gate cannot come to a verdict; says why
├── EngineFailed         an engine did not start or died; carries the log's telling line
├── BadReply             an engine answered with something that is no answer
│   └── NotFinite        its log-probabilities are no numbers: its weights are damaged
└── TasksFailed          lm-evaluation-harness did not come to a result
"""

from __future__ import annotations

from quantserve.core.errors import QuantserveError


class GateError(QuantserveError):
    """The gate cannot come to a verdict."""


class MeasuredEngineFailed(GateError):
    """An engine did not become ready, or died while it was measured."""


class BadReply(GateError):
    """An engine's reply is not what the OpenAI API promises."""


class NotFinite(BadReply):
    """An engine's log-probabilities are no finite numbers."""


class TasksFailed(GateError):
    """lm-evaluation-harness is absent, was asked for an unknown task, or failed."""
