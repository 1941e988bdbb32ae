"""What can go wrong while measuring. A verdict is not an error: it has its own exit code.

GateError                the gate cannot come to a verdict; says why
├── EngineFailed         an engine did not start or died; carries the log's telling line
├── BadReply             an engine answered with something that is no answer
└── EvaluationOverlap    the artifact was calibrated on the evaluation text
"""

from __future__ import annotations

from core.errors import QuantserveError


class GateError(QuantserveError):
    """The gate cannot come to a verdict."""


class EngineFailed(GateError):
    """An engine did not become ready, or died while it was measured."""


class BadReply(GateError):
    """An engine's reply is not what the OpenAI API promises."""


class EvaluationOverlap(GateError):
    """The evaluation text is not held out from the artifact's calibration."""
