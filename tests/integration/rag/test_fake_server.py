"""The fake server keeps the timing it promises, as benchmarks rely on it."""

import time

from openai import OpenAI

from tests.fakes.openai_server import Behaviour, FakeServer


def test_first_token_and_gaps_take_as_long_as_set() -> None:
    with FakeServer(Behaviour(answer="a b c d e", ttft_s=0.2, inter_token_s=0.05)) as server:
        client = OpenAI(base_url=server.base_url, api_key="x", max_retries=0)
        client.models.list()  # what a first request costs (imports, connecting) is not the server's
        started = time.perf_counter()
        arrivals = [
            time.perf_counter() - started
            for chunk in client.chat.completions.create(
                model="fake-model", messages=[{"role": "user", "content": "x y"}], stream=True
            )
            if chunk.choices and chunk.choices[0].delta.content
        ]
    assert len(arrivals) == 5
    assert 0.2 <= arrivals[0] < 1.0
    assert 0.19 <= arrivals[-1] - arrivals[0] < 1.0


def test_usage_is_the_truth_unless_told_to_lie() -> None:
    with FakeServer(Behaviour(answer="a b c")) as server:
        client = OpenAI(base_url=server.base_url, api_key="x", max_retries=0)
        done = client.completions.create(model="fake-model", prompt="one two", max_tokens=2)
        assert done.usage is not None
        assert (done.choices[0].text, done.choices[0].finish_reason) == ("a b", "length")
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (2, 2)
