"""What goes into an index: all that preprocess reads, and of folders what git would show."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmkit.retrieval.schema import FILE
from llmkit.text.document import Document

from .conftest import WORDS_ONLY, Command, change, manifest, sources


@pytest.fixture
def site() -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/guide"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if known:
                body = "<html><head><title>Guide</title></head><body><article><p>" + "The pump is red. " * 30
                self.wfile.write((body + "</p></article></body></html>").encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_files_archives_pages_and_standard_input_are_taken_in_by_one_command(
    command: Command, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Reset\n\nHold the red button.\n")
    (docs / "rows.csv").write_text("text,city,year\nA note about apples.,Kyoto,2020\n")
    with zipfile.ZipFile(docs / "old.zip", "w") as archive:
        archive.writestr("ja/手引き.md", "電源を入れる前に、必ず水を入れてください。")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"A text from a pipe about kiwis.\n")))
    result = command.index("docs", f"{site}/guide", f"{site}/gone", "-", "--rate", 1000)
    found = sources(result, docs)
    assert found == {"a.md", "rows.csv", "old.zip!/ja/手引き.md", f"{site}/guide", "stdin:"}
    assert sum(result["drops"].values()) == 1  # the page that is gone
    db = sqlite3.connect(command.home / "stores" / "kb" / FILE)
    facts = {Path(source).name: json.loads(meta) for source, meta in db.execute("SELECT source, meta FROM documents")}
    assert facts["手引き.md"]["lang"] == "ja" and facts["guide"]["title"] == "Guide"
    assert facts["rows.csv"] == {"lang": "und", "media": "text/plain", "city": "Kyoto", "year": "2020"}


def test_a_dataset_of_the_registry_is_indexed_with_the_lines_of_its_sources(command: Command) -> None:
    text = "\ufeff# Title\r\n\r\n\r\n\r\n\r\nThe  first paragraph is here to be kept as it is.\r\n\r\n\r\n" * 3
    (command.folder / "a.md").write_bytes(f"{text}The password is changed by holding the red button.\r\n".encode())
    code, _, err = command.run("preprocess", "a.md", "--name", "corpus", "--tokenizer", "none", "--json")
    assert code == 0, err
    result = command.index("corpus", "--chunk-size", 16, "--overlap", 0)
    assert sources(result, command.folder) == {"a.md"}
    view = command.view()
    (row,) = view.lexical(["password"], 1)
    chunk = view.chunks([row])[row]
    before = (command.folder / "a.md").read_text(encoding="utf-8").split("password")[0]
    assert chunk.text.startswith("password") and chunk.line == before.count("\n") + 1 > 20
    code, error = command.refused("corpus@7")
    assert code == 3 and "corpus" in error["message"]
    assert command.index("corpus", "--chunk-size", 16, "--overlap", 0)["reused"]


def test_of_a_folder_exactly_what_git_would_show_is_taken(command: Command) -> None:
    """The oracle is git's own list of what is tracked or would be."""
    rng = random.Random(5)
    docs = command.folder / "repo"
    for n in range(120):
        parts = [rng.choice(["src", "build", "docs", "tmp", "a b", "深い"]) for _ in range(rng.randrange(4))]
        path = docs.joinpath(*parts, f"{rng.choice(['note', 'keep', 'junk'])}{n}.{rng.choice(['md', 'txt', 'py'])}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Text number {n} of this folder.")
    subprocess.run(["git", "init", "-q", str(docs)], check=True)
    (docs / ".gitignore").write_text("junk*\n/build/\n*.py\n!keep*.py\n")
    for folder, rules in {"src": "*.md\n!note*\n", "docs": "tmp/\n!/junk*\n", "a b": "*\n!*.txt\n"}.items():
        (docs / folder / ".gitignore").write_text(rules)
    (docs / ".git" / "info" / "exclude").write_text("深い/keep*\n")
    tracked = docs / "build" / "tracked.md"
    tracked.parent.mkdir(exist_ok=True)
    tracked.write_text("Ignored by a rule, and tracked all the same.")
    subprocess.run(["git", "-C", str(docs), "add", "-f", "build/tracked.md"], check=True)
    listed = subprocess.run(
        ["git", "-C", str(docs), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout
    shown = {name for name in listed.decode().split("\0") if name and not Path(name).name.startswith(".")}
    result = command.index("repo")
    assert sources(result, docs) == shown and 20 < len(shown) < 121
    assert result["skipped"]["git_ignored"]


def test_hidden_files_secrets_links_out_and_loops_and_the_registry_itself_are_left_out_and_counted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = command.folder / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.md").write_text("The one text that counts.")
    for name in (".hidden.md", ".env", "id_rsa", "server.pem", "credentials.json"):
        (docs / name).write_text("never to be read")
    (command.folder / "outside.md").write_text("outside of the folder")
    (docs / "out.md").symlink_to(command.folder / "outside.md")
    (docs / "sub" / "loop").symlink_to(docs, target_is_directory=True)
    (docs / "self.md").symlink_to("self.md")
    monkeypatch.setenv("LLMKIT_HOME", str(docs / "registry-of-mine"))
    command.home = docs / "registry-of-mine"
    for _ in range(2):
        result = command.index("docs")
        assert sources(result, docs) == {"a.md"}
        skipped = result["skipped"]
        assert skipped["secret"] == 4 and skipped["hidden"] == 1 and skipped["outside_link"] == 1
        assert skipped["repeated"] == 1 and skipped["not_a_file"] == 1
    assert skipped["home"] == 1 and result["reused"]
    (docs / "b.md").write_text("Another text.")
    code, out, _ = command.run("index", "docs", "--name", "kb", *WORDS_ONLY)
    assert code == 0 and "+1 ~0 -0 =1 documents" in out and "secret" in out and str(docs / ".env") in out


def test_a_second_run_says_what_came_changed_went_and_stayed_and_a_moved_file_is_both(command: Command) -> None:
    docs = command.folder / "docs"
    docs.mkdir()
    for name in "abcdef":
        (docs / f"{name}.md").write_text(f"Text of {name}.")
    assert change(command.index("docs")) == "+6 ~0 -0 =0"
    again = command.index("docs")
    assert again["reused"] and change(again) == "+0 ~0 -0 =6"
    (docs / "a.md").unlink()
    (docs / "b.md").rename(docs / "moved.md")
    (docs / "c.md").write_text("Another text of c.")
    (docs / "g.md").write_text("A new text.")
    result = command.index("docs")
    assert change(result) == "+2 ~1 -2 =3" and result["artifact"]["ref"] == "kb@2"
    assert sources(result, docs) == {"c.md", "d.md", "e.md", "f.md", "moved.md", "g.md"}
    fresh = command.index("docs", name="fresh")
    assert manifest(result) == manifest(fresh)
    (docs / "c.md").write_text("Text of c.")
    (docs / "g.md").unlink()
    (docs / "moved.md").rename(docs / "b.md")
    (docs / "a.md").write_text("Text of a.")
    # As it was at first: the first version is what the name means again.
    back = command.index("docs")
    assert back["reused"] and back["artifact"]["ref"] == "kb@3" and len(manifest(back)) == 6


@pytest.mark.usefixtures("stamps_count_at_once")
def test_what_is_as_it_was_is_not_read_again_and_stays_counted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llmkit.data.corpus.shards as shards

    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "bad.jsonl").write_text('{"text": "A good row."}\n{"nothing": 1}\n')
    (docs / "empty.txt").write_text("")
    (docs / "a.md").write_text("Text.")
    with zipfile.ZipFile(docs / "z.zip", "w") as archive:
        archive.writestr("one.md", "First in the archive.")
    read: list[str] = []
    real = shards.read_unit
    monkeypatch.setattr(
        shards, "read_unit", lambda unit, options: (read.append(unit.file.name), real(unit, options))[1]
    )
    first = command.index("docs")
    assert sorted(read) == ["a.md", "bad.jsonl", "empty.txt", "z.zip"]
    read.clear()
    (docs / "b.md").write_text("More text.")
    second = command.index("docs")
    assert read == ["b.md"] and change(second) == "+1 ~0 -0 =3" and second["drops"] == first["drops"]
    read.clear()
    # Options that decide what is read of a file: it is read again although it is the same.
    rows = command.index("docs", "--text-field", "nothing")
    assert "bad.jsonl" in read and change(rows) != "+0 ~0 -0 =4"


@pytest.mark.usefixtures("stamps_count_at_once")
def test_a_file_that_changes_while_it_is_read_is_read_again_and_the_record_is_of_what_was_read(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llmkit.data.corpus.shards as shards

    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "a.log").write_text("The first half.")
    real, times = shards.read_unit, [0]

    def changing(unit, options):
        times[0] += 1
        documents = list(real(unit, options))
        if times[0] == 1:
            (docs / "a.log").write_text("The first half. And the second half.")
        return iter(documents)

    monkeypatch.setattr(shards, "read_unit", changing)
    result = command.index("docs")
    assert times == [2] and [row["digest"] for row in manifest(result)] == [
        Document("x", "The first half. And the second half.").digest
    ]
    monkeypatch.setattr(shards, "read_unit", real)
    assert command.index("docs")["reused"], "it is recorded as made of what was read"
    (docs / "a.log").write_text("The first half.")
    assert not command.index("docs")["reused"], "and not as made of what was found"


def test_a_file_that_never_rests_is_taken_as_it_is_and_no_later_run_relies_on_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llmkit.data.corpus.shards as shards

    docs = command.folder / "docs"
    docs.mkdir()
    (docs / "a.log").write_text("One line.\n")
    real = shards.read_unit

    def growing(unit, options):
        documents = list(real(unit, options))
        with (docs / "a.log").open("a") as file:
            file.write("One more line.\n")
        return iter(documents)

    monkeypatch.setattr(shards, "read_unit", growing)
    result = command.index("docs")
    assert any("kept changing" in warning for warning in result["warnings"])
    monkeypatch.setattr(shards, "read_unit", real)
    assert change(command.index("docs")) == "+0 ~1 -0 =0"


def test_two_records_with_one_id_are_one_document_and_the_other_is_counted(command: Command) -> None:
    (command.folder / "rows.jsonl").write_text('{"id": 1, "text": "One."}\n{"id": 1, "text": "Two."}\n')
    result = command.index("rows.jsonl", "--id-field", "id")
    assert result["documents"] == 1 and result["drops"] == {"repeated": 1}
