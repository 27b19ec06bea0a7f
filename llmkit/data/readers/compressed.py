"""Compressed bytes and what they may become: streams that unpack as they are read, within a budget."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from llmkit.data.readers.base import ArchiveLimits, UnreadableError, one_line
from llmkit.data.readers.detect import Format
from llmkit.errors import StorageError

COMPRESSED: frozenset[Format] = frozenset({"gzip", "bzip2", "xz", "zstd"})
SUFFIXES = {".gz": "", ".bz2": "", ".xz": "", ".zst": "", ".zstd": "", ".tgz": ".tar", ".tbz2": ".tar", ".txz": ".tar"}
"""What each suffix of a compressed file stands for once it is unpacked."""

_COPY_BYTES = 256 * 1024
_ZSTD_READ_BYTES = 1024
"""A block of zstd has 4 bytes at least and becomes 128 KiB at most (RFC 8878, 3.1.1.2): this becomes 32 MiB at most."""

_ZSTD_WINDOW_BYTES = 1 << 31
"""The widest there is (`zstd --long=31`), as some published collections use it. Its memory fills as data does."""


class Budget:
    """What one file, with all that is packed in it, may still unpack to."""

    def __init__(self, limits: ArchiveLimits, packed_bytes: int) -> None:
        self._limits = limits
        self._packed = max(1, packed_bytes)
        self._members = 0
        self._unpacked = 0

    def take_member(self) -> None:
        """Raises UnreadableError, for this member and all that follow it."""
        self._members += 1
        self._check()

    def spend(self, size: int) -> None:
        """Raises UnreadableError, then and from then on."""
        self._unpacked += size
        self._check()

    def check_member(self, size: int, packed: int | None = None) -> None:
        """Whether one member may unpack to `size` bytes, from `packed` bytes where that is known."""
        if size > self._limits.member_bytes:
            raise UnreadableError("too_large", f"it unpacks to more than {self._limits.member_bytes:,} bytes")
        if packed is not None:
            self._check_ratio(size, max(1, packed))

    def _check(self) -> None:
        if self._members > self._limits.members:
            raise UnreadableError("too_many_members", f"more than {self._limits.members:,} members: unpack it first")
        if self._unpacked > self._limits.total_bytes:
            raise UnreadableError(
                "too_large", f"it unpacks to more than {self._limits.total_bytes:,} bytes: unpack it first"
            )
        self._check_ratio(self._unpacked, self._packed)

    def _check_ratio(self, unpacked: int, packed: int) -> None:
        if unpacked > self._limits.ratio_from_bytes and unpacked > self._limits.ratio * packed:
            raise UnreadableError(
                "compression_bomb",
                f"it unpacks to more than {self._limits.ratio:g} times its size: if you trust it, unpack it first",
            )


class _Frames(io.RawIOBase):
    """The content of zstd frames, one after another. (The package's own stream takes a cut frame for a whole one.)"""

    def __init__(self, file: BinaryIO, new_frame: Callable[[], Any]) -> None:
        self._file = file
        self._new_frame = new_frame
        self._frame: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._file.read(_ZSTD_READ_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._frame = self._frame or self._new_frame()
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


class Metered(io.RawIOBase):
    """A stream whose every byte comes out of a budget: also those of members that are passed over.

    `tail` has the last bytes that were read, and `ended` says whether there are no more.
    """

    def __init__(self, inner: BinaryIO, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget
        self.tail = b""
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        self._budget.spend(len(data))
        self.ended = not data
        self.tail = data[-512:] or self.tail
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_unpacked(path: Path, form: Format) -> Iterator[BinaryIO]:
    """A compressed file as the stream of its content; each read unpacks no more than it returns."""
    with path.open("rb") as file, _unpacker(file, form) as stream:
        yield stream


def _unpacker(file: BinaryIO, form: Format) -> BinaryIO:
    import bz2
    import gzip
    import lzma

    match form:
        case "gzip":
            return cast("BinaryIO", gzip.GzipFile(fileobj=file))
        case "bzip2":
            return cast("BinaryIO", bz2.BZ2File(file))
        case "xz":
            return cast("BinaryIO", lzma.LZMAFile(file))
        case _:
            import zstandard

            unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
            return io.BufferedReader(_Frames(file, unpacker.decompressobj), _COPY_BYTES)


@contextmanager
def unpacking(what: str) -> Iterator[None]:
    """Make a refusal of whatever a damaged archive raises, and an error of a disk that is full."""
    try:
        yield
    except (UnreadableError, MemoryError, StorageError):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"no room to unpack {what}: {error.strerror}", mend="make room, or set TMPDIR to a larger disk"
            ) from error
        if error.errno is not None:
            raise
        raise UnreadableError("parse_error", f"{what} is damaged: {one_line(error)}") from error
    except EOFError as error:
        raise UnreadableError("parse_error", f"{what} is damaged: it ends too early") from error
    except Exception as error:  # zlib.error, lzma.LZMAError, ZstdError, TarError, BadZipFile, struct.error, ...
        if isinstance(error, RuntimeError) and "password" in str(error):
            raise UnreadableError("encrypted", "it asks for a password") from error
        raise UnreadableError("parse_error", f"{what} is damaged: {one_line(error)}") from error


def copy_bounded(stream: Any, target: Path, budget: Budget, *, packed: int | None = None, spend: bool = True) -> None:
    """Write what `stream` holds to `target`, for as long as the budget allows: what a header says counts nothing.

    Args:
        packed: bytes the stream comes from, to judge its own ratio by.
        spend: whether the bytes come out of the whole file's budget here (a `Metered` stream does it itself).
    """
    size = 0
    with target.open("wb") as file:
        while chunk := stream.read(_COPY_BYTES):
            size += len(chunk)
            budget.check_member(size, packed)
            if spend:
                budget.spend(len(chunk))
            file.write(chunk)


def unpacked_name(name: str) -> str:
    """The name a compressed file has once it is unpacked: `a.csv` for `a.csv.gz`, `a.tar` for `a.tgz`."""
    for suffix, becomes in SUFFIXES.items():
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)] + becomes
    return name
