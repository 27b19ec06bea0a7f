import hashlib
import io
from pathlib import Path

import pytest

from llmkit.data.sources.standard_input import spool_stdin
from llmkit.errors import DataError, StorageError, UsageError


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


class Endless(io.RawIOBase):
    """Gives `total` bytes and remembers the largest piece that was asked for."""

    def __init__(self, total: int) -> None:
        self.left = total
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "all at once"
        self.largest = max(self.largest, size)
        given = min(size, self.left, 100_000)
        self.left -= given
        return b"x" * given


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise KeyboardInterrupt


def test_standard_input_becomes_a_file_named_by_its_content(tmp_path: Path) -> None:
    data = "日本語の文章。\nשלום\n".encode()
    file = spool_stdin(io.BytesIO(data), tmp_path / "new" / "folder")
    assert file.path.read_bytes() == data
    assert (file.source, file.name, file.size) == ("stdin:", "stdin", len(data))
    assert file.meta == {"sha256": hashlib.sha256(data).hexdigest()}
    assert file.path.is_absolute()
    assert spool_stdin(io.BytesIO(data), tmp_path / "new" / "folder").path == file.path
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1


def test_it_is_copied_piece_by_piece(tmp_path: Path) -> None:
    stream = Endless(5_000_000)
    file = spool_stdin(stream, tmp_path)
    assert file.size == 5_000_000 == file.path.stat().st_size
    assert stream.largest <= 1 << 20


def test_a_terminal_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="that is the terminal") as caught:
        spool_stdin(Terminal(b"typed"), tmp_path)
    assert caught.value.mend


def test_empty_input_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="standard input is empty"):
        spool_stdin(io.BytesIO(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_copy_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        spool_stdin(Broken(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        spool_stdin(io.BytesIO(b"x"), tmp_path / "file" / "below")
