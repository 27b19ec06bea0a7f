import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.segments import segments
from llmkit.data.tokenizer import Algorithm, train_tokenizer


@given(st.text(alphabet="ab 1\n-é猫", max_size=200), st.integers(1, 40))
def test_the_pieces_are_the_text_and_none_is_too_long(text: str, longest: int) -> None:
    pieces = list(segments(text, longest))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= longest for piece in pieces)


def test_a_cut_falls_before_a_space_between_words() -> None:
    assert list(segments("hello brave new world", 13)) == ["hello brave", " new world"]


def test_an_unbroken_run_is_cut_anywhere() -> None:
    assert [len(piece) for piece in segments("a" * 25, 10)] == [10, 10, 5]


@pytest.mark.parametrize("algorithm", ["bpe", "unigram", "wordpiece"])
def test_the_tokens_of_a_long_japanese_text_are_those_of_its_pieces(algorithm: Algorithm) -> None:
    sentences = [
        "吾輩は猫である。",
        "名前はまだ無い、と言った！",
        "どこで生れたか、とんと見当がつかぬ。",
        "2011年に東京で会った？",
    ]
    text = "".join(sentences[(i * 7 + i // 3) % 4] for i in range(2000))
    tokenizer = train_tokenizer([text], 500, algorithm).tokenizer.backend_tokenizer
    pieces = list(segments(text, 3000))
    assert len(pieces) > 5
    ids = [id_ for piece in pieces for id_ in tokenizer.encode(piece, add_special_tokens=False).ids]
    assert ids == tokenizer.encode(text, add_special_tokens=False).ids
