from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from quantserve.quantize.gate.measure.client import Client
from quantserve.quantize.gate.measure.errors import BadReply, MeasuredEngineFailed
from tests.integration.quantize_gate.fake_serving import start

Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    servers = []

    def make(*faults: str) -> Client:
        server = start({"faults": list(faults)})
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Client(f"http://127.0.0.1:{server.server_port}", "tiny", timeout_s=10, pause_s=0)

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("fault", ["cut", "500", "503"])
def test_what_a_broken_connection_or_server_lost_is_asked_again(connect: Connect, fault: str) -> None:
    reply = connect(fault, fault).completion([1, 2], max_tokens=1)

    assert reply["choices"][0]["text"] == "x"


@pytest.mark.parametrize(
    ("fault", "said"), [("cut", "RemoteProtocolError"), ("500", "HTTP 500: .*broken on purpose")]
)
def test_three_failures_in_a_row_are_the_engines_failure(connect: Connect, fault: str, said: str) -> None:
    with pytest.raises(MeasuredEngineFailed, match=said):
        connect(*[fault] * 3).completion([1, 2], max_tokens=1)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("garbage", "not JSON: '<html>proxy error"),
        ("no-choice", "without a choice"),
        ("400", "refused with HTTP 400: .*broken on purpose"),
    ],
)
def test_a_reply_that_is_no_answer_is_not_asked_again(connect: Connect, fault: str, said: str) -> None:
    client = connect(fault)

    with pytest.raises(BadReply, match=said):
        client.completion([1, 2], max_tokens=1)
    assert client.completion([1, 2], max_tokens=1)["choices"]


def test_nobody_listening_is_the_engines_failure() -> None:
    with pytest.raises(MeasuredEngineFailed, match="ConnectError"):
        Client("http://127.0.0.1:9", "tiny", timeout_s=2, pause_s=0).chat("hello", max_tokens=1)
