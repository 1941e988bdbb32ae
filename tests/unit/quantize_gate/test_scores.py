from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantserve.quantize.gate.measure.errors import BadReply
from quantserve.quantize.gate.measure.figures import pack_passages, parse_passage, unpack_passages
from tests.unit.quantize_gate.passages import passage


def reply() -> dict[str, Any]:
    """What vLLM 0.32 says for the prompt [7, 8, 9] with prompt_logprobs=2."""
    return {
        "prompt_logprobs": [
            None,
            {  # the actual token 8 is not among the best two: a third entry with its true rank
                "8": {"logprob": -6.0, "rank": 22, "decoded_token": "x"},
                "5": {"logprob": -0.5, "rank": 1, "decoded_token": "y"},
                "6": {"logprob": -2.0, "rank": 2, "decoded_token": "z"},
            },
            {  # the actual token 9 is the second best and comes first all the same
                "9": {"logprob": -1.5, "rank": 2, "decoded_token": "x"},
                "4": {"logprob": -0.25, "rank": 1, "decoded_token": "y"},
            },
        ]
    }


def test_the_first_token_has_no_prediction_and_the_actual_one_is_not_a_top_token() -> None:
    read = parse_passage(reply(), [7, 8, 9], 2)

    assert read.ids.tolist() == [7, 8, 9]
    assert read.actual.tolist() == [-6.0, -1.5]
    assert read.top_ids.tolist() == [[5, 6], [4, 9]]
    assert read.top.tolist() == [[-0.5, -2.0], [-0.25, -1.5]]


def test_a_shorter_list_of_ids_cuts_the_passage() -> None:
    assert parse_passage(reply(), [7, 8], 2).actual.tolist() == [-6.0]


def _without_actual(value: dict[str, Any]) -> None:
    del value["prompt_logprobs"][2]["9"]


def _too_few(value: dict[str, Any]) -> None:
    value["prompt_logprobs"].pop()


def _none(value: dict[str, Any]) -> None:
    value["prompt_logprobs"] = None


def _hole(value: dict[str, Any]) -> None:
    value["prompt_logprobs"][1] = None


def _short_list(value: dict[str, Any]) -> None:
    del value["prompt_logprobs"][1]["6"], value["prompt_logprobs"][1]["5"]


def _words(value: dict[str, Any]) -> None:
    value["prompt_logprobs"][1]["5"]["logprob"] = "much"


@pytest.mark.parametrize("damage", [_without_actual, _too_few, _none, _hole, _short_list, _words])
def test_a_reply_of_another_shape_is_a_bad_reply(damage: Any) -> None:
    value = reply()
    damage(value)

    with pytest.raises(BadReply):
        parse_passage(value, [7, 8, 9], 2)


def test_a_log_probability_that_is_no_number_means_damaged_weights() -> None:
    value = reply()
    value["prompt_logprobs"][2]["4"]["logprob"] = float("nan")

    with pytest.raises(BadReply, match="damaged"):
        parse_passage(value, [7, 8, 9], 2)


def test_packed_passages_come_back_in_order_and_of_their_own_length() -> None:
    one = passage((0.5, {1: 0.5, 2: 0.2}), ids=[3, 4])
    two = passage((0.5, {1: 0.5, 2: 0.2}), (0.1, {7: 0.6, 8: 0.1}), ids=[5, 6, 7])

    back = unpack_passages(pack_passages([one, two]))

    assert [item.ids.tolist() for item in back] == [[3, 4], [5, 6, 7]]
    assert np.array_equal(back[1].top, two.top)
