from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from llmkit.errors import ConfigError, DataError, NotFoundError
from llmkit.registry import digests
from llmkit.registry.digests import input_digest, reuse_key
from llmkit.registry.store import Registry

LIBRARY = Path(sysconfig.get_paths()["stdlib"]) / "json"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    shutil.copytree(LIBRARY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    age(folder)
    return folder


def age(path: Path, seconds: float = 60) -> None:
    """Makes files look old; the change time cannot be set, so the tests move the clock instead."""
    for file in [path] if path.is_file() else path.rglob("*"):
        os.utime(file, (time.time() - seconds,) * 2)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute passes before every look at the clock."""
    real = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: real() + 60 * 10**9)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were really read."""
    files: list[Path] = []
    real = digests.hash_file

    def hash_file(path: Path) -> str:
        files.append(path)
        return real(path)

    monkeypatch.setattr(digests, "hash_file", hash_file)
    return files


def test_the_digest_of_each_file_is_that_of_sha256sum(docs: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    found = input_digest([docs], root=docs)
    lines = subprocess.run(
        ["sha256sum", *sorted(found.files)], cwd=docs, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {line.split()[1]: line.split()[0] for line in lines} == dict(found.files)
    assert found.size == sum(file.stat().st_size for file in docs.rglob("*") if file.is_file())


def test_relative_names_survive_a_move_and_absolute_names_tell_copies_apart(docs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(docs, copy)
    assert input_digest([docs], root=docs).digest == input_digest([copy], root=copy).digest
    assert input_digest([docs]).digest != input_digest([copy]).digest


def test_order_and_repetition_of_the_paths_do_not_matter(docs: Path) -> None:
    files = sorted(file for file in docs.rglob("*") if file.is_file())
    assert input_digest([docs]) == input_digest(reversed([*files, *files]))


@pytest.mark.parametrize("change", ["content", "name", "more", "less"])
def test_any_change_changes_the_digest(docs: Path, change: str) -> None:
    before = input_digest([docs]).digest
    file = docs / "decoder.py"
    match change:
        case "content":
            file.write_text(file.read_text() + "\n")
        case "name":
            file.rename(docs / "decoder2.py")
        case "more":
            (docs / "empty").touch()
        case "less":
            file.unlink()
    assert input_digest([docs]).digest != before


@pytest.mark.usefixtures("later")
def test_unchanged_files_are_not_read_again(registry: Registry, docs: Path, hashed: list[Path]) -> None:
    with registry.building():
        pass  # the home is there
    first = registry.input_digest([docs])
    assert len(hashed) == len(first.files)
    hashed.clear()
    assert registry.input_digest([docs]) == first
    assert hashed == []


@pytest.mark.usefixtures("later")
def test_a_changed_file_is_read_again_even_if_its_size_and_time_are_set_back(
    tmp_path: Path, docs: Path, hashed: list[Path]
) -> None:
    before = input_digest([docs], cache=tmp_path / "cache")
    file = docs / "decoder.py"
    times = file.stat()
    file.write_bytes(file.read_bytes().swapcase())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    hashed.clear()
    after = input_digest([docs], cache=tmp_path / "cache")
    assert after.digest != before.digest
    assert hashed == [file]


def test_a_file_changed_within_the_last_two_seconds_is_not_remembered(
    tmp_path: Path, docs: Path, hashed: list[Path]
) -> None:
    for _ in range(2):
        hashed.clear()
        input_digest([docs], cache=tmp_path / "cache")
        assert len(hashed) > 3


@pytest.mark.usefixtures("later")
def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = docs / "decoder.py"
    real = digests.hash_file

    def hash_and_change(path: Path) -> str:
        sha = real(path)
        if path == file:
            file.write_text("changed behind the reader's back")
        return sha

    monkeypatch.setattr(digests, "hash_file", hash_and_change)
    input_digest([docs], cache=tmp_path / "cache")
    monkeypatch.setattr(digests, "hash_file", real)
    assert input_digest([docs], cache=tmp_path / "cache") == input_digest([docs])


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, docs: Path, content: bytes) -> None:
    cache = tmp_path / "cache"
    first = input_digest([docs], cache=cache)
    for file in cache.iterdir():
        file.write_bytes(content)
    assert input_digest([docs], cache=cache) == first


def test_a_memory_that_cannot_be_written_costs_time_only(tmp_path: Path, docs: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    assert input_digest([docs], cache=tmp_path / "cache") == input_digest([docs])


def test_names_that_are_not_utf8_have_a_digest_too(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("x")
    assert len(input_digest([tmp_path], cache=tmp_path / "cache").files) == 1


def test_pipes_and_broken_links_below_a_folder_are_passed_over(docs: Path) -> None:
    before = input_digest([docs])
    os.mkfifo(docs / "pipe")
    (docs / "broken").symlink_to("nowhere")
    (docs / "loop").symlink_to(docs)
    assert input_digest([docs]) == before


def test_what_is_not_there_or_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="no such file or folder"):
        input_digest([tmp_path / "nowhere"])

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(digests, "hash_file", refuse)
    (tmp_path / "secret").touch()
    with pytest.raises(DataError) as caught:
        input_digest([tmp_path])
    assert caught.value.where == str(tmp_path / "secret")


def test_a_key_depends_on_everything_that_decides_a_result_and_on_nothing_else() -> None:
    key = reuse_key("pretrain", 1, {"lr": 1e-3, "steps": 10}, {"data": "a" * 64})
    assert key == reuse_key("pretrain", 1, {"steps": 10, "lr": 0.001}, {"data": "a" * 64})
    others = [
        reuse_key("finetune-lora", 1, {"lr": 1e-3, "steps": 10}, {"data": "a" * 64}),
        reuse_key("pretrain", 2, {"lr": 1e-3, "steps": 10}, {"data": "a" * 64}),
        reuse_key("pretrain", 1, {"lr": 1e-3, "steps": 11}, {"data": "a" * 64}),
        reuse_key("pretrain", 1, {"lr": 1e-3, "steps": 10}, {"data": "b" * 64}),
        reuse_key("pretrain", 1, {"lr": 1e-3, "steps": 10}, {"base": "a" * 64}),
    ]
    assert len({key, *others}) == 6


def test_a_secret_in_the_config_is_refused_before_the_work() -> None:
    with pytest.raises(ConfigError):
        reuse_key("index", 1, {"store": "http://me:secret@host"}, {})
