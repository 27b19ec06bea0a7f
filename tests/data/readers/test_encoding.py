import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.readers.encoding import NotTextError, decode

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
SHORT = "これは短い文章です。"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp932", "euc_jp", "iso2022_jp"])
@pytest.mark.parametrize("text", [JAPANESE, SHORT, "# 日本語の説明\ndef f(x):\n    return x\n"])
def test_japanese_is_read_in_every_encoding_it_comes_in(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize(
    "text", ["Où est le café ? L'été, à la plage, ça va très bien.", "The naïve café costs €5, “she” said – twice."]
)
def test_western_text_is_read_as_windows_1252(text: str) -> None:
    assert decode(text.encode("cp1252")).text == text


def test_utf16_without_a_mark_is_told_by_its_nuls() -> None:
    text = "Plain text, saved by an old editor.\r\n" * 3
    assert decode(text.encode("utf-16-le")).text == text
    assert decode(text.encode("utf-16-be")).text == text


@given(st.text().filter(lambda text: not text.startswith("\ufeff")))
def test_text_in_utf8_comes_back_or_is_refused_as_binary(text: str) -> None:
    try:
        decoded = decode(text.encode("utf-8"))
    except NotTextError:
        assert any(ord(char) < 32 or ord(char) == 127 for char in text)
    else:
        assert decoded.encoding in ("utf-8", "iso2022_jp", "utf-16-le", "utf-16-be", "utf-16", "utf-32")
        if decoded.encoding == "utf-8":
            assert decoded.text == text


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    assert decode("\ufeffhello".encode()).text == "hello"


def test_a_few_invalid_bytes_do_not_make_utf8_something_else() -> None:
    data = JAPANESE.encode() * 3 + b"\xff\xfe" + JAPANESE.encode()
    decoded = decode(data)
    assert (decoded.encoding, decoded.damaged) == ("utf-8", 2)
    assert decoded.text.count(JAPANESE) == 4


def test_a_file_cut_inside_a_character_loses_only_that_character() -> None:
    decoded = decode(("Mostly English text, and at the very end a word of another script: " * 2 + "猫").encode()[:-1])
    assert decoded.text.endswith("script: \ufffd")


def test_random_bytes_are_not_text() -> None:
    with pytest.raises(NotTextError):
        decode(random.Random(1).randbytes(200_000))


def test_the_refusal_names_a_known_format() -> None:
    with pytest.raises(NotTextError, match="PNG"):
        decode(b"\x89PNG\r\n\x1a\n" + bytes(100) + os.urandom(1000))


def test_a_stray_nul_does_not_make_a_text_binary() -> None:
    assert "\0" in decode(b"A line of a log, \0 and it goes on, as logs do for a long time." * 2).text


def test_a_declared_encoding_is_believed_if_it_fits() -> None:
    assert decode("žluťoučký kůň".encode("iso8859-2"), "iso-8859-2").text == "žluťoučký kůň"
    assert decode(b"plain", "no-such-codec").text == "plain"


def test_fifty_megabytes_in_one_line_are_read() -> None:
    assert len(decode(b"a" * 50_000_000).text) == 50_000_000
