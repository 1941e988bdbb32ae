"""The tuning set's score, which a recipe may be chosen by."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from quantserve.quantize.gate.facts import facts
from quantserve.quantize.gate.tuning import endpoint, score
from tests.integration.quantize_gate.fake_serving import start


def test_a_score_counts_the_right_answers_and_names_what_was_lost() -> None:
    english = [fact for fact in facts("tuning") if fact.language == "en"]
    known = {fact.question: fact.accept[0] for fact in english if fact.rule == "contains"}

    def all_of_them(questions: Sequence[str]) -> list[str]:
        return [known.get(question, "") for question in questions]

    def not_berlin(questions: Sequence[str]) -> list[str]:
        return [known.get(question, "").replace("Berlin", "Bonn") for question in questions]

    base, candidate = score(all_of_them, ["en"]), score(not_berlin, ["en"])

    assert (base.prompts, base.right) == (len(english), len(known))
    assert [fact.question for fact in candidate.lost(base)] == ["What is the capital of Germany?"]
    assert base.lost(candidate) == ()


def test_an_endpoint_is_asked_over_http() -> None:
    server = start({"answer": "Berlin."})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        found = score(endpoint(f"http://127.0.0.1:{server.server_port}", "m"), ["en"])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    right = [fact.question for fact, _, mark in found.marks if mark]
    assert right == ["What is the capital of Germany?"]
