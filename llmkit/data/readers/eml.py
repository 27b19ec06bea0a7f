"""Mails: the headers a reader looks at, the text (or the HTML as text), and the attachments as parts."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage, Message, MIMEPart
from pathlib import Path

from llmkit.data.readers.base import Item, Part, ReadOptions, parsing, read_whole
from llmkit.data.readers.encoding import NotTextError, decode
from llmkit.data.readers.markup import page_text, parse_page
from llmkit.text.document import Document

_HEADERS = ("Subject", "From", "To", "Date")
_META = {"Subject": "title", "From": "author", "Date": "date"}
_MAX_BYTES = 256 << 20
"""Parsing a mail takes several times its size in memory; mail servers accept some 25 to 150 MB."""


def read_eml(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    data = read_whole(path, _MAX_BYTES)
    if data.startswith(b"From "):  # the line that a mailbox puts before a mail
        data = data.partition(b"\n")[2]
    with parsing("the mail"):
        message = email.message_from_bytes(data, policy=email.policy.default)
        headers = {name: value for name in _HEADERS if (value := _header(message, name))}
        body = _body(message)
        attached = list(_attachments(message))
    head = "\n".join(f"{name}: {value}" for name, value in headers.items())
    text = "\n\n".join(block for block in (head, body) if block)
    meta = {_META[name]: value for name, value in headers.items() if name in _META}
    yield Document(str(path), text, media=media, meta=meta)
    yield from attached


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except Exception:  # the standard library raises all sorts of things over headers that break its grammar
        return ""


def _body(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    if part is None:
        return ""
    text = _decoded(part)
    if part.get_content_type() == "text/html" and text.strip():
        return page_text(parse_page(text))
    return text.replace("\r\n", "\n").strip("\n")


def _decoded(part: MIMEPart) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return decode(payload, part.get_content_charset()).text
    except NotTextError:
        return ""


def _attachments(message: EmailMessage) -> Iterator[Part]:
    body = message.get_body(("plain", "html"))
    for number, part in enumerate(_leaves(message), start=1):
        if part is not body and (part.get_content_disposition() == "attachment" or part.get_filename()):
            yield Part(_name(part, number), _content(part))


def _leaves(message: MIMEPart) -> Iterator[MIMEPart]:
    """What the mail consists of, in order. A forwarded mail is one thing: its own attachments are found in it."""
    stack = [message]
    while stack:
        part = stack.pop()
        inner = part.get_payload() if part.get_content_maintype() == "multipart" else None
        if isinstance(inner, list):
            stack.extend(each for each in reversed(inner) if isinstance(each, MIMEPart))
        else:
            yield part


def _content(part: MIMEPart) -> bytes:
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        first = inner[0] if isinstance(inner, list) and inner else None
        return first.as_bytes() if isinstance(first, Message) else b""
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _name(part: MIMEPart, number: int) -> str:
    """What the sender called it, without folders; unnamed ones (forwarded mails) by their place."""
    named = (part.get_filename() or "").replace("\\", "/").rpartition("/")[2].strip()
    return named or (f"part{number}.eml" if part.get_content_type() == "message/rfc822" else f"part{number}")
