from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.segments import segments


@given(st.text(alphabet="ab 1\n-é猫", max_size=200), st.integers(1, 40))
def test_the_pieces_are_the_text_and_none_is_too_long(text: str, longest: int) -> None:
    pieces = list(segments(text, longest))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= longest for piece in pieces)


def test_a_cut_falls_before_a_space_between_words() -> None:
    assert list(segments("hello brave new world", 13)) == ["hello brave", " new world"]


def test_an_unbroken_run_is_cut_anywhere() -> None:
    assert [len(piece) for piece in segments("a" * 25, 10)] == [10, 10, 5]
