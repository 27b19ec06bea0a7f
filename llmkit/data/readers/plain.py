"""Plain text, Markdown and source code: the text is the file's own, decoded and otherwise untouched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from llmkit.data.media import PYTHON
from llmkit.data.readers.base import Item, ReadOptions, UnreadableError, read_whole
from llmkit.data.readers.encoding import Decoded, NotTextError, decode
from llmkit.text.document import Document

# A Python source names its encoding in one of its first two lines (PEP 263).
_CODING = re.compile(rb"\A(?:[^\n]*\n)?[ \t\f]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]+)")

# Office puts a document with a password into a file of its old format (MS-OFFCRYPTO, 2.3.1).
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def read_text(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    data = read_whole(path)
    coding = _CODING.search(data[:400]) if media == PYTHON else None
    decoded = decode_or_refuse(data, coding[1].decode("ascii") if coding else None)
    yield Document(str(path), decoded.text, media=media, meta=encoding_facts(decoded))


def decode_or_refuse(data: bytes, declared: str | None = None) -> Decoded:
    try:
        return decode(data, declared)
    except NotTextError as error:
        if data.startswith(_OLD_OFFICE) and _ENCRYPTED in data:
            raise UnreadableError("encrypted", "an Office file with a password: save it without one") from error
        raise UnreadableError("binary", str(error)) from error


def encoding_facts(decoded: Decoded) -> dict[str, object]:
    """What is worth keeping about how a text was decoded: nothing, if it was clean UTF-8."""
    facts: dict[str, object] = {}
    if decoded.encoding != "utf-8":
        facts["encoding"] = decoded.encoding
    if decoded.damaged:
        facts["undecodable"] = decoded.damaged
    return facts
