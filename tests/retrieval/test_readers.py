"""Readers and writers as processes of their own: no version changes under a reader, and a lock says whose it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit.errors import BusyError
from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.store import View
from llmkit.retrieval.vectors import ChromaVectors
from llmkit.retrieval.writer import open_writer
from llmkit.text.document import Document

from .conftest import Hashed, build

READER = """
import json, sys
from pathlib import Path
from llmkit.retrieval.store import View
view = View(Path(sys.argv[1]))
for line in sys.stdin:
    rows, vectors = view.vectors
    found = {word: len(view.lexical([word], 100)) for word in ("apple", "pear")}
    print(json.dumps([view.version, view.counts, found, len(rows), View(Path(sys.argv[1])).version]), flush=True)
"""
WRITER = """
import sys, time
from pathlib import Path
from llmkit.registry.locks import held
from llmkit.retrieval.schema import LOCK
with held(Path(sys.argv[1]) / LOCK, what="the index kb", wait=False):
    print("held", flush=True)
    time.sleep(60)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from llmkit.retrieval import vectors
vectors.BATCH = 20
chroma = vectors.ChromaVectors(Path(sys.argv[1]), "0" * 64)
write = chroma._strike_out
left = [int(sys.argv[2])]
def strike_out(rows):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(rows)
chroma._strike_out = strike_out
list(chroma.catch_up())
"""


def documents(word: str, count: int) -> list[Document]:
    return [Document(f"/d/{n}.txt", f"{word} number{n}") for n in range(count)]


def test_a_reader_sees_its_version_while_others_publish_and_a_new_one_sees_the_newest(
    tmp_path: Path, hashed: Hashed
) -> None:
    build(tmp_path, documents("apple", 10), hashed)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdin and reader.stdout
        said = []
        for count in (12, 20, 30):
            reader.stdin.write("look\n")
            reader.stdin.flush()
            said.append(json.loads(reader.stdout.readline()))
            build(tmp_path, documents("pear", count), hashed)
        with open_writer(tmp_path, hashed, ChunkSettings()) as writer:
            writer.prune({1, 4})
        reader.stdin.write("look\n")
        reader.stdin.flush()
        said.append(json.loads(reader.stdout.readline()))
    finally:
        reader.kill()
        reader.wait()
    assert [line[:4] for line in said] == [[1, [10, 10], {"apple": 10, "pear": 0}, 10]] * 4
    assert [line[4] for line in said] == [1, 2, 3, 4]


def test_the_second_writer_learns_who_the_first_is(tmp_path: Path, hashed: Hashed) -> None:
    first = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout and first.stdout.readline() == "held\n"
        with pytest.raises(BusyError) as caught, open_writer(tmp_path, hashed, ChunkSettings()):
            pass
        said = caught.value.message
        assert f"process {first.pid} on " in said and ", since 20" in said and "(-c " in said
        assert caught.value.exit_code == 6
    finally:
        first.kill()
        first.wait()
    with open_writer(tmp_path, hashed, ChunkSettings()):
        pass  # the kernel freed it


@pytest.mark.parametrize("point", [1, 2, 4])
def test_a_writer_killed_between_chroma_and_its_journal_leaves_no_point_twice_and_none_out(
    tmp_path: Path, hashed: Hashed, point: int
) -> None:
    texts = [Document(f"/d/{n}.txt", f"text {n} of {'abcdefgh'[n % 8]} {n * 37}") for n in range(80)]
    build(tmp_path, texts, hashed)
    ran = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(point)], capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    chroma = ChromaVectors(tmp_path, hashed.digest)
    assert not chroma.in_step()
    # What was sent and not struck out is sent again.
    assert sum(chroma.catch_up()) == 80 - 20 * (point - 1)
    assert chroma.in_step() and chroma.differing() == 0
    chroma.close()
    assert View(tmp_path).counts == (80, 80)
