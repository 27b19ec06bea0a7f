"""Pictures as an OpenAI-compatible endpoint takes them: inside the request, as data URLs."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from llmkit.errors import DataError, NotFoundError

MOST_BYTES = 20_000_000
"""Of one picture; OpenAI takes 20 MB."""
_SIGNS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def data_url(path: Path) -> str:
    """The picture in a file.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is empty, too large, or no PNG, JPEG, GIF or WebP by its content.
    """
    if not path.is_file():
        raise NotFoundError(f"no such file: {path}", mend="give a PNG, JPEG, GIF or WebP file")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(
            f"the picture has {size / 1e6:,.1f} MB",
            where=str(path),
            mend=f"make it smaller: {MOST_BYTES / 1e6:g} MB at most",
        )
    content = path.read_bytes()
    return f"data:{_media(content, path)};base64,{b64encode(content).decode()}"


def _media(content: bytes, path: Path) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    media = next((media for sign, media in _SIGNS if content.startswith(sign)), None)
    if media is None:
        what = "the file is empty" if not content else "the file is no picture that models take"
        raise DataError(what, where=str(path), mend="give a PNG, JPEG, GIF or WebP file")
    return media
