"""The command `preprocess` by its options: what it takes, makes, and refuses before it reads anything."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.texts import BOTCHAN, QUESTION, prose

from llmkit.config.resolve import flag_layer, resolve
from llmkit.data.dataset import Dataset
from llmkit.errors import (
    BusyError,
    ConfigError,
    DataError,
    LlmkitError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from llmkit.registry.store import Registry
from llmkit.reporting.reporter import Silent
from llmkit.stages.base import Mode, execute, plan
from llmkit.stages.preprocess import STAGE, PreprocessConfig
from llmkit.stages.story import explain


def config(*inputs: Path | str, **given: Any) -> Any:
    given = {"inputs": tuple(map(str, inputs)), "name": "c", "tokenizer": "none"} | given
    return resolve(PreprocessConfig, [flag_layer(PreprocessConfig, given)])


def do(registry: Registry, *inputs: Path | str, mode: Mode | None = None, **given: Any) -> Any:
    return execute(STAGE, config(*inputs, **given), registry, Silent(), mode or Mode())


def dataset(result: Any) -> Dataset:
    return Dataset.open(result.artifact.path)


def names(result: Any) -> set[str]:
    return {each.document.source.rsplit("/", 1)[-1] for each in dataset(result).documents()}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(6):
        (folder / f"{seed}.txt").write_text(prose(seed))
    (folder / "ja.md").write_text(BOTCHAN)
    return folder


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"languages": ("english",)}, ConfigError, "english"),
        ({"drop_languages": ("xx",)}, ConfigError, "xx"),
        ({"rules": ("gofer",)}, ConfigError, "rules"),
        ({"threshold": ("gopher_quality.min_word=3",)}, ConfigError, "did you mean 'gopher_quality.min_words'"),
        ({"threshold": ("gopher_quality.min_words=3",)}, ConfigError, "not among the rules"),
        ({"pii": "off", "pii_types": ("emial",)}, ConfigError, "email"),
        ({"threshold": ("gopher_quality.min_words",)}, ConfigError, "names no value"),
        ({"rules": ("gopher_quality",), "threshold": ("gopher_quality.min_words=few",)}, ConfigError, "few"),
        ({"pii_types": ("emial",)}, ConfigError, "email"),
        ({"recogniser": "presidio"}, UnavailableError, "Presidio"),
        ({"shard": "4/3"}, UsageError, "4/3"),
        ({"shard": "0/3"}, UsageError, "0/3"),
        ({"shard": "half"}, UsageError, "half"),
        ({"similarity": 1.5}, ConfigError, "similarity"),
        ({"vocab_size": 100}, ConfigError, "vocab-size|vocab_size"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_looked_for(
    registry: Registry, given: dict[str, Any], error: type[LlmkitError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        do(registry, "/nowhere/at/all", **given)
    assert caught.value.exit_code in (2, 5)
    assert not registry.home.exists()


def test_evaluation_sets_and_references_that_are_not_there_are_said_to_be(registry: Registry, folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.jsonl"):
        do(registry, folder, against=("nowhere.jsonl",))
    with pytest.raises(NotFoundError, match="nowhere"):
        do(registry, folder, reference="nowhere")


def test_a_second_run_of_the_same_reuses_and_a_changed_file_does_not(registry: Registry, folder: Path) -> None:
    first, second = do(registry, folder), do(registry, folder, workers=2, engine="local")
    assert (first.reused, second.reused) == (False, True)
    assert second.payload == first.payload
    (folder / "0.txt").write_text(prose(100))
    third = do(registry, folder)
    assert (third.reused, third.artifact.ref) == (False, "c@2")
    assert not list(registry.layout.work.iterdir()), "nothing is left of work that is done"


def test_the_artifact_holds_data_drops_report_page_and_card(registry: Registry, folder: Path) -> None:
    path = do(registry, folder).artifact.path
    wanted = {"documents.parquet", "drops.parquet", "report.json", "report.html", "README.md", "manifest.json"}
    assert wanted <= {file.name for file in path.iterdir()}
    report = json.loads((path / "report.json").read_text())
    assert report["steps"][0]["files"] == 7
    assert "<html" in (path / "report.html").read_text()
    assert "# " in (path / "README.md").read_text()


def test_contaminated_documents_that_are_kept_are_named_for_the_evaluation(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "quiz.jsonl").write_text(
        json.dumps({"id": "q7", "question": QUESTION}) + "\n" + json.dumps({"id": "q8", "question": BOTCHAN}) + "\n"
    )
    (folder / "quiz.txt").write_text(f"{prose(50)}\nHe asked {QUESTION} that year.")
    result = do(registry, folder, against=(str(tmp_path / "quiz.jsonl"),), contaminated="keep")
    recorded = json.loads((result.artifact.path / "contamination.json").read_text())
    assert recorded["documents"] == "keep"
    assert recorded["sets"]["quiz"]["hits"] == ["q7", "q8"]
    assert {"quiz.txt", "ja.md"} <= names(result)
    dropped = do(registry, folder, against=(str(tmp_path / "quiz.jsonl"),))
    assert names(result) - names(dropped) == {"quiz.txt", "ja.md"}


def test_archives_and_compressed_files_are_read_as_what_is_in_them(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "a.txt.gz").write_bytes(gzip.compress(prose(1).encode()))
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        archive.writestr("deep/b.txt", prose(2))
        archive.writestr("../escape.txt", prose(3))
    with tarfile.open(folder / "c.tar.xz", "w:xz") as tar:
        data = BOTCHAN.encode()
        member = tarfile.TarInfo("c.md")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    result = do(registry, folder)
    sources = {each.document.source.removeprefix(f"{folder}/") for each in dataset(result).documents()}
    assert sources == {"a.txt.gz", "b.zip!/deep/b.txt", "c.tar.xz!/c.md"}
    assert result.payload["report"]["drops"] == {"read": {"unsafe_path": 1}}


def test_standard_input_is_kept_and_the_same_again_is_reused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def piped(text: str) -> Any:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        return do(registry, "-")

    first = piped(BOTCHAN)
    assert [each.document.source for each in dataset(first).documents()] == ["stdin:"]
    assert piped(BOTCHAN).reused
    assert not piped(prose(1)).reused


def test_a_dataset_is_an_input_and_its_documents_keep_their_sources(registry: Registry, folder: Path) -> None:
    do(registry, folder)
    again = do(registry, "c", name="small", languages=("ja",), confidence=0.5)
    (document,) = [each.document for each in dataset(again).documents()]
    assert document.source == str(folder / "ja.md")
    assert {ref.role for ref in again.artifact.manifest.inputs} == {"data", "files"}
    assert again.payload["report"]["drops"]["language"] == {"other_language": 6}


def test_a_dataset_of_the_hub_is_unavailable_offline_and_says_so(registry: Registry) -> None:
    with pytest.raises(UnavailableError) as caught:
        do(registry, "hf:org/name:train")
    assert caught.value.exit_code == 5
    assert caught.value.mend


class Site(BaseHTTPRequestHandler):
    """A sitemap with two pages, one of them gone, and a page that robots.txt closes."""

    def do_GET(self) -> None:
        host = f"http://{self.headers['Host']}"
        pages = {
            "/robots.txt": ("text/plain", "User-agent: *\nDisallow: /closed\n"),
            "/sitemap.xml": (
                "application/xml",
                '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
                + "".join(f"<url><loc>{host}{path}</loc></url>" for path in ("/a.html", "/gone.html", "/closed.html"))
                + "</urlset>",
            ),
            "/a.html": (
                "text/html",
                "<html lang=en><head><title>Otters</title>"
                '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/"></head><body><article>'
                + "".join(f"<p>{line}</p>" for line in prose(5).split("\n"))
                + "</article></body></html>",
            ),
            "/closed.html": ("text/html", "<p>closed</p>"),
        }
        kind, body = pages.get(self.path, ("", ""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def site() -> Iterator[str]:
    with serving() as address:
        yield address


def test_a_sitemap_is_fetched_its_licence_recorded_and_what_is_gone_or_closed_dropped(
    registry: Registry, site: str
) -> None:
    result = do(registry, f"{site}/sitemap.xml", rate=1000.0)
    (each,) = dataset(result).documents()
    assert each.document.source == f"{site}/a.html"
    assert each.document.meta["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert each.document.meta["retrieved"]
    drops = {drop.source.rsplit("/", 1)[-1]: drop for drop in dataset(result).drops()}
    assert set(drops) == {"gone.html", "closed.html"}
    assert all(drop.step == "collect" and drop.reason and drop.detail for drop in drops.values())
    assert result.payload["report"]["licences"]
    assert do(registry, f"{site}/sitemap.xml", rate=1000.0).reused


def test_a_page_is_explained_when_its_site_is_gone(registry: Registry) -> None:
    with serving() as site:
        result = do(registry, f"{site}/sitemap.xml", rate=1000.0)
    story = explain(result.artifact, "a.html", registry)
    assert "note" not in story
    assert story["steps"]
    gone = explain(result.artifact, "gone.html", registry)
    assert (gone["step"], gone["note"]) == ("collect", "it could not be read")


def test_strict_stops_with_the_file_and_the_reason(registry: Registry, folder: Path) -> None:
    (folder / "blob.txt").write_bytes(random.Random(0).randbytes(9000))
    with pytest.raises(DataError, match="binary") as caught:
        do(registry, folder, strict=True)
    assert caught.value.where == str(folder / "blob.txt")
    assert "--strict" in str(caught.value.mend)
    assert registry.versions("c") == []
    assert do(registry, folder).payload["report"]["drops"]["read"] == {"binary": 1}


def test_parts_are_done_apart_and_put_together(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmkit.data.corpus.shards.SHARD_BYTES", 1000)
    whole = do(registry, folder, name="whole")
    assert do(registry, folder, name="whole", shard="1/2").reused, "what is made is not done again in parts"
    other = Registry(registry.home.parent / "other")
    part = do(other, folder, shard="1/2")
    assert part.artifact is None
    assert part.payload["part"] == "1/2"
    assert "--shard merge" in "".join(getattr(block, "text", "") for block in STAGE.show(part.payload))
    with pytest.raises(NotFoundError, match=r"shards are not done: 000001"):
        do(other, folder, shard="merge")
    assert other.versions("c") == []
    assert do(other, folder, shard="2/2").payload["documents"] + part.payload["documents"] == 7
    merged = do(other, folder, shard="merge")
    for name in ("documents.parquet", "drops.parquet", "report.json"):
        assert (merged.artifact.path / name).read_bytes() == (whole.artifact.path / name).read_bytes()
    assert not list(other.layout.work.iterdir())


def test_a_part_is_done_by_one_process_at_a_time(registry: Registry, folder: Path) -> None:
    key = plan(STAGE, config(folder).config, registry, Mode()).key
    with registry.shared_workspace(key, "part-1-of-2"):
        with pytest.raises(BusyError):
            do(registry, folder, shard="1/2")
        do(registry, folder, shard="2/2")


def test_parts_are_for_texts(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(UsageError, match="--shard"):
        do(registry, tmp_path / "a.jsonl", for_="chat", shard="1/2")


def test_pages_that_are_scans_are_counted_and_said(registry: Registry, tmp_path: Path) -> None:
    import pypdf

    folder = tmp_path / "pdf"
    folder.mkdir()
    writer = pypdf.PdfWriter()
    for _ in range(12):
        writer.add_blank_page(200, 200)
    writer.write(folder / "scan.pdf")
    (folder / "a.txt").write_text(prose(1))
    result = do(registry, folder)
    assert result.payload["report"]["scans"] == {"files": 1, "pages": 12}
    assert result.payload["report"]["drops"]["read"] == {"no_text": 1}
    assert any("12 pages" in warning and "OCR" in warning for warning in result.warnings)


def test_a_reference_set_is_compared_with(registry: Registry, folder: Path, tmp_path: Path) -> None:
    do(registry, folder, name="theirs")
    (tmp_path / "b.txt").write_text(BOTCHAN)
    result = do(registry, tmp_path / "b.txt", name="ours", reference="theirs")
    assert result.payload["report"]["reference"]["name"] == "theirs@1"
