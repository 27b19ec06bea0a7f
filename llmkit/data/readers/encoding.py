"""From bytes to text: which encoding it is, and whether it is text at all."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from charset_normalizer import from_bytes

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_JAPANESE = ("cp932", "euc_jp")
_WIDER = {
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "sjis": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
}
"""What a declared name means in practice (https://encoding.spec.whatwg.org/#names-and-labels): a superset of it."""

_SAMPLE_BYTES = 64 * 1024
"""A guess needs no more than this much of the data, and guessing costs time in proportion."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROL = 0.02
"""Data of which more than this share is control characters is no text. In random bytes it is a tenth."""

_KANA = re.compile(r"[\u3041-\u30ff、。]")
_JAPANESE_KANA = 0.25
"""In running Japanese more than half of what is not ASCII is kana or a full stop; lists of names have less."""

_MAGIC = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"\xfd7zXZ", "xz-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x7fELF", "an executable"),
    (b"MZ", "an executable"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a media file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.doc, .xls, .ppt)"),
)


class Decoded(NamedTuple):
    text: str
    encoding: str
    damaged: int
    """Bytes (or runs of them) that were not valid in `encoding` and became U+FFFD."""


class NotTextError(Exception):
    """The bytes are not text; the message says what they seem to be."""


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Decode `data`: byte-order mark, then `declared`, then UTF-8, then UTF-16 by its NULs, then detection.

    UTF-8 with a few invalid bytes stays UTF-8, with U+FFFD in their place. A byte-order mark is not part of the text.

    Raises:
        NotTextError: for binary data.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _checked(data, encoding)
    if order := _utf16_order(data):
        return _checked(data, order)
    sample = data[:_SAMPLE_BYTES].decode("latin-1")
    if len(_CONTROL.findall(sample)) > _MOST_CONTROL * len(sample):
        raise _not_text(data)
    wide = _WIDER.get(declared.lower(), declared) if declared else None
    first = (*([wide, declared] if wide and declared else []), *(["iso2022_jp"] if b"\x1b$" in data else []), "utf-8")
    for encoding in first:
        if decoded := _strictly(data, encoding):
            return decoded
    return _japanese(data) or _damaged_utf8(data) or _detected(data)


def _strictly(data: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(data.decode(encoding), encoding, 0)
    except (UnicodeError, LookupError, ValueError):  # a declared name may be no encoding, or hold a NUL
        return None


def _checked(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, "replace")
    damaged = text.count("\ufffd")
    sample = text[:_SAMPLE_BYTES]
    if len(_CONTROL.findall(sample)) + damaged > _MOST_CONTROL * len(text):
        raise _not_text(data)
    return Decoded(text, encoding, damaged)


def _utf16_order(data: bytes) -> str | None:
    """Byte order of UTF-16 without a mark: text that is mostly ASCII has its NULs all on one side."""
    sample = data[:_SAMPLE_BYTES]
    even, odd, pairs = sample[0::2].count(0), sample[1::2].count(0), len(sample) // 2
    if odd > 0.3 * pairs and even < 0.01 * pairs:
        return "utf-16-le"
    if even > 0.3 * pairs and odd < 0.01 * pairs:
        return "utf-16-be"
    return None


def _damaged_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with some damage: the valid multi-byte characters must far outnumber the invalid bytes.

    Text in a legacy encoding hardly ever contains a valid multi-byte sequence, so the two are not confused.
    """
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    valid = len(text) - len(text.encode("ascii", "ignore")) - damaged
    cut_short = damaged == 1 and text.endswith("\ufffd") and len(data) > 64
    if damaged * 10 <= valid or cut_short:
        return Decoded(text, "utf-8", damaged)
    return None


def _japanese(data: bytes) -> Decoded | None:
    """Of the Japanese encodings in which `data` is valid, the one in which it is full of kana.

    Done before the general detection because it is surer: EUC-JP read as Shift_JIS turns into half-width kana and rare
    kanji, and Shift_JIS is hardly ever valid EUC-JP.
    """
    sample = data[: _SAMPLE_BYTES - _SAMPLE_BYTES % 2]
    best, best_share = None, _JAPANESE_KANA
    for encoding in _JAPANESE:
        text = sample.decode(encoding, "replace")
        share = len(_KANA.findall(text)) / max(1, sum(not char.isascii() for char in text))
        if share > best_share:
            best, best_share = encoding, share
    return _strictly(data, best) if best else None


def _detected(data: bytes) -> Decoded:
    sample = data[:_SAMPLE_BYTES]
    guess = from_bytes(sample, cp_isolation=[*_JAPANESE, "cp1252"]).best() or from_bytes(sample).best()
    if guess is None:
        raise _not_text(data)
    return _checked(data, guess.encoding)


def _not_text(data: bytes) -> NotTextError:
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return NotTextError(f"not text but {name}")
    return NotTextError("not text: its bytes fit no text encoding")
