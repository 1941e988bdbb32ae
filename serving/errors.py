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
    ├── EngineFailed      one engine, from its start to its end, did not serve
    │   ├── EngineDied        it ended by itself; carries its log's most telling line
    │   ├── EngineNotReady    no token was decoded in time
    │   └── EngineHung        it served and brings no tokens any more
    ├── RestartsExhausted engines died one after the other
    └── NotRunning        a command needs a running server
"""

from __future__ import annotations

from quantserve.core.errors import InputError, QuantserveError, ResourceError, UsageError


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


class EngineFailed(ServingError):
    """One engine, from its start to its end, did not do its work."""


class EngineDied(EngineFailed):
    """The engine process ended by itself."""


class EngineNotReady(EngineFailed):
    """The engine runs but decoded no token in time."""


class EngineHung(EngineFailed):
    """The engine runs, has served, and brings no tokens any more."""


class RestartsExhausted(ServingError):
    """Engines died one after the other; starting yet another would not help."""


class NotRunning(ServingError):
    """No server is running where one is needed."""
