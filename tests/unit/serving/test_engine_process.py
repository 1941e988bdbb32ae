"""The engine's process before vLLM starts in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from quantserve.serving.guard import SETTINGS_VARIABLE
from quantserve.serving.waiting import VARIABLE as WAIT_VARIABLE

PROGRAM = """
import uvicorn.config
from quantserve.serving import vllm_server
vllm_server.bound_connections()
found = uvicorn.config.HTTP_PROTOCOLS["auto"]
print("uvicorn's own" if isinstance(found, str) else found.registry.bounds.header_timeout_s)
"""


@pytest.mark.parametrize(
    ("settings", "protocol"), [({"limits": {"header_timeout_s": 7.0}}, "7.0"), (None, "uvicorn's own")]
)
def test_connections_are_bounded_by_the_guards_limits_and_not_where_the_engine_is_bare(
    settings: dict[str, object] | None, protocol: str
) -> None:
    left_out = (SETTINGS_VARIABLE, WAIT_VARIABLE)  # the second changes vLLM, which is not here
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    if settings is not None:
        environment[SETTINGS_VARIABLE] = json.dumps(settings)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == protocol
