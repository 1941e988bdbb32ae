import pytest

from quantserve.rag.trust.faithful import repeats_itself, support


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A server is a device that serves. " * 3, True),
        ("A server is a device that serves. " * 2, False),
        ("Yes. Yes. Yes. Yes.", False),
        ("서버를 다시 시작하면 요청이 끝난다.\n" * 3, True),
        ("", False),
    ],
)
def test_going_round_in_circles(text: str, expected: bool) -> None:
    assert repeats_itself(text) is expected


def test_support_is_the_share_of_words_in_the_sources() -> None:
    assert support("Keys can live for 180 days.", ["Keys live for 180 days."]) == 1.0
    assert support("Keys open doors.", ["Keys live for 180 days."]) == pytest.approx(1 / 3)
    assert support("The.", ["The."]) == 0.0
