import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import UsageError
from llmkit.generation.sampling import Detokenizer, Generation, Sampling, StopStrings, TextStream


@given(st.text(), st.data())
def test_a_text_of_bytes_comes_out_whole_and_never_shows_half_a_character(text, data):
    detokenizer = Detokenizer(lambda ids: bytes(ids).decode("utf-8", "replace"))
    encoded = text.encode("utf-8")
    pieces = [detokenizer.push(byte) for byte in encoded]
    shown = "".join(pieces)
    assert text.startswith(shown)
    assert shown + detokenizer.rest() == text
    if "\ufffd" not in text:
        assert "\ufffd" not in shown


def test_bytes_that_never_become_a_character_come_out_at_the_end():
    detokenizer = Detokenizer(lambda ids: bytes(ids).decode("utf-8", "replace"))
    assert "".join(detokenizer.push(byte) for byte in b"ok\xe3\x81") == "ok"
    assert detokenizer.rest() == "\ufffd"


@given(
    st.lists(st.text("ab|", max_size=4), max_size=12),
    st.lists(st.text("ab|", min_size=1, max_size=4), max_size=3),
)
def test_a_stop_string_is_found_however_it_arrives(pieces, strings):
    stop = StopStrings(strings)
    got = "".join(stop.push(piece) for piece in pieces)
    whole = "".join(pieces)
    # The first of them to be complete decides; among those that end with the same piece, the one that begins first.
    if stop.reached:
        assert any(whole.startswith(got + string) for string in strings)
        assert stop.push("more") == "" and stop.rest() == ""
    else:
        assert not any(string in whole for string in strings)
        assert got + stop.rest() == whole
    assert not any(string in got for string in strings)


def test_the_start_of_a_stop_string_is_held_back_and_given_if_it_was_none():
    stop = StopStrings(["</end>"])
    assert [stop.push(piece) for piece in ("a<", "/e", "x")] == ["a", "", "</ex"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max-tokens is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top-p is 0"),
        ({"top_p": 1.1}, "top-p is 1.1"),
        ({"stop": ("",)}, "a stop string is empty"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        Sampling(**options)
    assert caught.value.mend


def test_the_result_of_a_stream_reads_what_is_left():
    def pieces():
        yield "a"
        yield "b"
        return Generation("ab", 2, "stop")

    stream = TextStream(pieces())
    assert next(stream) == "a"
    assert stream.result.text == "ab"
    assert list(stream) == [] and stream.result.tokens == 2
