"""What an index makes of bad input and of a run that is stopped: it is said, it is counted, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest

from llmkit.cli.app import main

from .conftest import WORDS_ONLY, Command, change, manifest, sources


def locked_pdf(path: Path) -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(200, 200)
    writer.encrypt("secret", algorithm="AES-128" if _can_aes() else "RC4-128")
    with path.open("wb") as file:
        writer.write(file)


def _can_aes() -> bool:
    try:
        import cryptography  # noqa: F401  # only whether it is there
    except ImportError:
        return False
    return True


def test_files_without_text_are_named_and_counted_and_the_others_are_indexed(command: Command) -> None:
    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("Text to be found.")
    locked_pdf(docs / "locked.pdf")
    (docs / "zeros.txt").write_bytes(bytes(4000))
    (docs / "empty.txt").write_text("")
    (docs / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (docs / "broken.docx").write_bytes(b"PK\x03\x04 not an archive")
    result = command.index("docs")
    assert sources(result, docs) == {"good.md"}
    drops = dict(result["drops"])
    assert drops.pop("encrypted") == 1 and drops.pop("empty") == 1 and result["skipped"] == {"binary": 1}
    assert sum(drops.values()) == 2
    said = "\n".join(result["warnings"])
    assert all(name in said for name in ("locked.pdf", "zeros.txt", "broken.docx")) and "empty.txt" not in said
    code, out, _ = command.run("index", "docs", "--name", "kb", *WORDS_ONLY)
    assert code == 0 and "encrypted" in out and str(docs / "locked.pdf") in out


def test_a_thousand_files_with_one_fault_give_a_few_warnings_and_the_whole_count(command: Command) -> None:
    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("Text.")
    for n in range(40):
        (docs / f"{n}.txt").write_bytes(bytes(100))
    result = command.index("docs")
    assert sum(result["drops"].values()) == 40 and len(result["warnings"]) == 11


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda docs: None, 4, "the folder is empty"),
        (lambda docs: (docs / "a.png").write_bytes(b"x"), 4, "1 binary"),
        (lambda docs: (docs / "a.txt").write_text(" \n"), 4, "no text in 1 files (1 empty)"),
        (lambda docs: docs.rmdir(), 3, "does not exist"),
    ],
)
def test_nothing_to_index_says_why(command: Command, make: Callable[[Path], Any], code: int, words: str) -> None:
    docs = command.folder / "docs"
    docs.mkdir()
    make(docs)
    found, error = command.refused("./docs")
    assert found == code and words in error["message"] and error["mend"]


def test_what_no_longer_has_text_leaves_the_last_version_as_it_was(command: Command) -> None:
    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("Text.")
    before = command.index("docs")
    (docs / "a.md").write_text("")
    assert command.refused("docs")[0] == 4
    view = command.view()
    assert view.counts == (1, 1) and len(manifest(before)) == 1
    (docs / "a.md").write_text("Text again.")
    assert change(command.index("docs")) == "+0 ~1 -0 =0"


def test_another_chunker_is_refused_with_the_way_out(command: Command) -> None:
    (command.folder / "a.md").write_text("A sentence. Another one.")
    command.index("a.md")
    code, error = command.refused("a.md", "--chunker", "sentences")
    assert code == 4 and "by structure" in error["message"] and "by sentences" in error["message"]
    assert "--rebuild" in error["mend"] and "--name" in error["mend"]
    rebuilt = command.index("a.md", "--chunker", "sentences", "--rebuild")
    assert change(rebuilt) == "+0 ~0 -0 =1" and rebuilt["artifact"]["ref"] == "kb@2"
    assert command.index("a.md", "--chunker", "tokens", name="kb-tokens")["chunks"] == 1


def in_child(work: Callable[[], int]) -> int:
    """What `os.waitpid` says of a child that does the work."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            code = work()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.fixture
def docs(command: Command) -> Path:
    """Six files that were indexed, then one gone, one changed, one moved, two new."""
    docs = command.folder / "docs"
    docs.mkdir()
    for name in "abcdef":
        (docs / f"{name}.md").write_text(f"# {name}\n\nThe text of {name}.\n")
    (docs / "rows.jsonl").write_text("".join(f'{{"text": "Row {n} of the table."}}\n' for n in range(5)))
    command.index("docs")
    (docs / "a.md").unlink()
    (docs / "b.md").write_text("# b\n\nAnother text of b.\n")
    (docs / "c.md").rename(docs / "moved.md")
    (docs / "g.md").write_text("New.")
    (docs / "rows.jsonl").write_text("".join(f'{{"text": "Row {n} of the table."}}\n' for n in range(3)))
    return docs


def test_killed_at_any_commit_the_next_run_ends_with_what_a_fresh_build_has(command: Command, docs: Path) -> None:
    """Before each transaction of the store, and after it, once."""
    import llmkit.retrieval.schema as schema
    import llmkit.retrieval.writer as writer

    fresh = manifest(command.index("docs", name="fresh"))
    base = command.home.with_name("base")
    shutil.rmtree(command.home / "stores" / "fresh")
    shutil.copytree(command.home, base)
    real, died, point = schema.transaction, True, 0
    while died:
        left = [point]

        def counting(db, folder, left=left):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(db, folder)

        def run(counting=counting) -> int:
            writer.transaction = counting
            return main(["index", "docs", "--name", "kb", *WORDS_ONLY, "--quiet"])

        died = os.WIFSIGNALED(in_child(run))
        if died:
            assert command.view().version == 1 and command.view().counts == (11, 11)
        result = command.index("docs")
        assert manifest(result) == fresh
        assert died != result["reused"], "a run that was not killed had published"
        shutil.rmtree(command.home)
        shutil.copytree(base, command.home)
        point += 1
    assert point > 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_in_the_middle_it_says_how_to_go_on(command: Command, docs: Path, number: int, code: int) -> None:
    import llmkit.retrieval.writer as writer

    def run() -> int:
        real, left = writer.transaction, [1]

        def interrupting(db, folder):
            if left[0] == 0:
                os.kill(os.getpid(), number)
            left[0] -= 1
            return real(db, folder)

        writer.transaction = interrupting
        return main(["index", "docs", "--name", "kb", *WORDS_ONLY, "--quiet"])

    assert os.waitstatus_to_exitcode(in_child(run)) == code
    assert command.view().counts == (11, 11)
    assert manifest(command.index("docs")) == manifest(command.index("docs", name="fresh"))


def test_a_full_disk_says_so_and_the_next_run_goes_on(command: Command, docs: Path) -> None:
    (docs / "large.md").write_text("\n\n".join(f"Paragraph {n} of a large text." for n in range(40_000)))

    def run() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        return main(["index", "docs", "--name", "kb", *WORDS_ONLY, "--quiet"])

    assert os.waitstatus_to_exitcode(in_child(run)) == 6
    assert command.view().counts == (11, 11)
    (docs / "large.md").unlink()
    assert manifest(command.index("docs")) == manifest(command.index("docs", name="fresh"))


class Started:
    """A command in a process of its own, whose lines are read as they come."""

    def __init__(self, command: Command, *words: str) -> None:
        environment = {**os.environ, "LLMKIT_HOME": str(command.home)}
        line = [sys.executable, "-m", "llmkit", *words]
        self.process = subprocess.Popen(
            line, cwd=command.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def line(self, seconds: float = 60) -> dict[str, Any]:
        stream = self.process.stdout
        assert stream is not None
        ready, _, _ = select.select([stream], [], [], seconds)
        assert ready, "it prints nothing"
        found: dict[str, Any] = json.loads(stream.readline())
        return found

    def stop(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err.decode()


@pytest.fixture
def watching(command: Command) -> Iterator[Started]:
    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("The text of a.")
    started = Started(command, "index", "docs", "--name", "kb", *WORDS_ONLY, "--watch", "--json")
    yield started
    started.process.kill()
    started.process.communicate()


def test_watching_keeps_the_index_current_until_it_is_stopped(command: Command, watching: Started) -> None:
    docs = command.folder / "docs"
    assert watching.line()["artifact"]["ref"] == "kb@1"
    (docs / "b.md").write_text("The text of b.")
    (docs / "c.md").write_text("The text of c.")
    second = watching.line()
    assert change(second) == "+2 ~0 -0 =1" and second["artifact"]["ref"] == "kb@2"
    # Neither what says nothing new nor what has no text is an end, or a version.
    (docs / "a.md").write_text("The text of a.")
    (docs / ".hidden.md").write_text("Not looked at.")
    time.sleep(1.5)
    locked_pdf(docs / "locked.pdf")
    third = watching.line()
    assert change(third) == "+0 ~0 -0 =3" and third["drops"] == {"encrypted": 1}
    (docs / "b.md").unlink()
    assert change(watching.line()) == "+0 ~0 -1 =2"
    code, err = watching.stop(signal.SIGINT)
    assert code == 130 and "kb@4" in err and "Traceback" not in err
    assert command.index("docs")["reused"]


def test_watching_ends_by_a_termination_and_outlives_a_folder_that_is_empty_for_a_while(
    command: Command, watching: Started
) -> None:
    docs = command.folder / "docs"
    watching.line()
    (docs / "a.md").unlink()
    time.sleep(1.5)
    (docs / "b.md").write_text("The text of b.")
    assert change(watching.line()) == "+1 ~0 -1 =0"
    code, err = watching.stop(signal.SIGTERM)
    assert code == 143 and "folder is empty" in err and "Traceback" not in err


@pytest.mark.parametrize(
    "words", [("-", "--watch"), ("https://example.org/", "--watch"), ("docs", "--watch", "--rebuild")]
)
def test_what_cannot_be_watched_is_refused_at_once(command: Command, words: tuple[str, ...]) -> None:
    (command.folder / "docs").mkdir()
    (command.folder / "docs" / "a.md").write_text("Text.")
    code, error = command.refused(*words)
    assert code == 2 and "watch" in error["message"] + str(error["where"]) and not (command.home / "stores").exists()
