"""The serving exception tree.

QuantserveError
├── UsageError
│   └── ProfileError      a profile is unknown, or a key or value in it is wrong
├── InputError
│   └── TargetError       the model directory cannot be served
├── ResourceError
│   ├── PortTaken         something already listens there
│   ├── NotEnoughMemory   weights and KV cache do not fit; said before anything starts
│   └── HardwareError     the probe found no way to compute
└── ServingError
    ├── EngineDied        the engine ended by itself; carries its log's most telling line
    ├── EngineNotReady    no token was decoded in time
    └── NotRunning        a command needs a running server
"""

from __future__ import annotations

from core.errors import InputError, QuantserveError, ResourceError, UsageError


class ProfileError(UsageError):
    """A profile is unknown, or something in it is wrong."""


class TargetError(InputError):
    """The model directory cannot be served."""


class PortTaken(ResourceError):
    """Something already listens on the port."""


class NotEnoughMemory(ResourceError):
    """Weights and KV cache do not fit into this machine's memory."""


class HardwareError(ResourceError):
    """The probe found no number format this machine computes in."""


class ServingError(QuantserveError):
    """The server did not do what was asked."""


class EngineDied(ServingError):
    """The engine process ended by itself."""


class EngineNotReady(ServingError):
    """The engine runs but decoded no token in time."""


class NotRunning(ServingError):
    """No server is running where one is needed."""
