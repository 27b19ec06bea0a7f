"""Files of training data: unpacked where they are compressed, with the format and the split they are named for."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, cast

from llmkit.data.examples.conll import is_conll, read_conll
from llmkit.data.examples.fields import RowFormat, split_named
from llmkit.data.rows import ROW_FORMATS, BadRow, Row, format_of, read_rows
from llmkit.data.split import Split
from llmkit.errors import DataError, NotFoundError

_BLOCK_BYTES = 1 << 20
_MOST_TIMES = 200
_ALWAYS_FINE_BYTES = 256 << 20
"""A file may unpack to this many bytes, or to 200 times its own size: text rarely compresses better than 20 times, and
a file that does is made to fill the disk."""


_Opener = Callable[..., Any]


def _zstd(path: Path, mode: str) -> Any:
    import zstandard

    return zstandard.open(path, mode)


_OPENERS: Mapping[bytes, _Opener] = {
    b"\x1f\x8b": gzip.open,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}
"""By the bytes a compressed file begins with."""


@contextmanager
def plain_file(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary one with what it unpacks to, named without the last suffix.

    Raises:
        NotFoundError: if there is no such file.
        DataError: if it cannot be read, is damaged, or unpacks to far more than a text could.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError as error:
        raise NotFoundError("no such file of examples", where=str(path), mend="check the path") from error
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", where=str(path), mend="name a readable file") from error
    opener = next((each for magic, each in _OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="llmkit-") as folder:
        plain = Path(folder) / (path.stem or "rows")
        _unpack(path, opener, plain)
        yield plain


def _unpack(path: Path, opener: _Opener, plain: Path) -> None:
    limit = max(_ALWAYS_FINE_BYTES, _MOST_TIMES * path.stat().st_size)
    written = 0
    with plain.open("wb") as out:
        for block in _blocks(path, opener):
            written += len(block)
            if written > limit:
                raise DataError(
                    f"it unpacks to more than {limit:,} bytes",
                    where=str(path),
                    mend="unpack it yourself if it is sound",
                )
            out.write(block)


def _blocks(path: Path, opener: _Opener) -> Iterator[bytes]:
    import zstandard

    try:
        with opener(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DataError(
            f"the compressed file is damaged: {error}", where=str(path), mend="get it again, or unpack it yourself"
        ) from error


def row_format(plain: Path, path: Path) -> RowFormat:
    """The format of a file of rows; `path` is how a message calls it.

    Raises:
        DataError: if it is in another format.
    """
    form = format_of(plain)
    if form in ROW_FORMATS:
        return cast(RowFormat, form)
    if form == "text" and is_conll(plain, path):
        return "conll"
    raise DataError(
        "not a file of examples",
        where=str(path),
        mend="use JSONL, JSON, CSV, TSV or parquet, with one example in each row; or words with tags as CoNLL has them",
    )


def rows_of(plain: Path, form: RowFormat) -> Iterator[Row | BadRow]:
    """The rows of a file in such a format, in order."""
    return read_conll(plain) if form == "conll" else read_rows(plain, form)


def splits_by_name(paths: Sequence[Path]) -> list[Split | None]:
    """The split each file is named for: `train.tsv`, `squad_dev.json`, `test-00000-of-00001.parquet`.

    None where a name says nothing, or names two. If no file is named for a split that is held out, `train` says nothing
    either: something has to be held out of those files.
    """
    found = [_named(path) for path in paths]
    return found if any(split not in (None, "train") for split in found) else [None] * len(paths)


def _named(path: PurePath) -> Split | None:
    words = re.split(r"[^a-z]+", path.name.lower())
    splits = {split for word in words if (split := split_named(word))}
    return splits.pop() if len(splits) == 1 else None
