import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.corpus.shardfile import Row, ShardSet, ShardWriter
from llmkit.data.corpus.tally import Tally
from llmkit.data.document_table import document_of
from llmkit.data.drops import Drop
from llmkit.data.steps.dedup import BANDS, line_hashes, sketch
from llmkit.errors import StorageError
from llmkit.text.document import Document

DOCUMENT = Document(
    "/docs/本.pdf", "吾輩は猫である。\n\nعربي\n𝄞 music", "application/pdf", "7", (0, 11), {"title": "猫"}, ((2, 5),)
)


def write(folder: Path, documents: list[Document], drops: list[Drop] | None = None) -> Path:
    writer = ShardWriter(folder)
    for document in documents:
        row = Row(document, document.digest[:16], "docs", {"language": "ja", "pii": {"email": 2}})
        writer.add(row, sketch(document.text), line_hashes(document.text))
    for drop in drops or []:
        writer.drop(drop)
    writer.finish(Tally().to_json())
    return folder


def test_a_document_comes_back_with_its_places_and_facts(tmp_path: Path) -> None:
    shards = ShardSet([write(tmp_path / "000000", [DOCUMENT])])
    ((start, batch),) = shards.batches()
    (row,) = batch.to_pylist()
    assert start == 0
    assert document_of({**row, "split": "train", "cluster": "0"}) == DOCUMENT
    assert (row["language"], row["facts"], row["origin"]) == ("ja", '{"pii": {"email": 2}}', "docs")
    assert row["digest"] == DOCUMENT.digest[:16]


def test_drops_come_back_as_they_were(tmp_path: Path) -> None:
    drop = Drop("/docs/a.pdf", "read", "no_text", "12 pages are scans: 『OCR』", "3", "ff", 12)
    assert list(ShardSet([write(tmp_path / "0", [], [drop]), write(tmp_path / "1", [], [drop])]).drops()) == [drop] * 2


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_positions_run_over_all_shards_empty_ones_included(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    documents = [Document(f"/{n}", f"text number {n} of the shard\nand another line") for n in range(sum(sizes))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmkit.data.corpus.shardfile._BATCH_ROWS", 7)
        patch.setattr("llmkit.data.corpus.shardfile._OPEN_SHARDS", 2)
        rest = iter(documents)
        folders = [write(folder / f"{n:06}", [next(rest) for _ in range(size)]) for n, size in enumerate(sizes)]
        shards = pickle.loads(pickle.dumps(ShardSet(folders)))
        assert len(shards) == len(documents)
        order = list(range(len(documents)))
        random.Random(0).shuffle(order)
        assert [shards(index) for index in order] == [documents[index].text for index in order]
        found = [(start, batch.column("source").to_pylist()) for start, batch in shards.batches()]
        assert [source for _, sources in found for source in sources] == [each.source for each in documents]
        assert [start for start, _ in found] == [int(sources[0][1:]) for _, sources in found]


def test_hashes_are_those_of_the_sketches(tmp_path: Path) -> None:
    texts = ["one text of several words", "two texts of several words", "one text of several words"]
    folders = [
        write(tmp_path / "0", [Document("/0", texts[0])]),
        write(tmp_path / "1", [Document("/1", t) for t in texts[1:]]),
    ]
    (tmp_path / "scratch").mkdir()
    hashes = ShardSet(folders).hashes(tmp_path / "scratch")
    assert hashes.exact.shape == (3, 2)
    assert hashes.bands.shape == (BANDS, 3)
    for index, text in enumerate(texts):
        expected = sketch(text)
        assert tuple(hashes.bands[:, index].tolist()) == expected.bands
        assert b"".join(int(half).to_bytes(8, "big") for half in hashes.exact[index]) == expected.exact


def test_lines_of_documents_that_do_not_count_are_left_out(tmp_path: Path) -> None:
    texts = [f"a first line, {word}\na second line, {word}" for word in ("one", "two", "three", "four")]
    folders = [
        write(tmp_path / "0", [Document("/a", text) for text in texts[:1]]),
        write(tmp_path / "1", []),
        write(tmp_path / "2", [Document("/a", text) for text in texts[1:]]),
    ]
    shards = ShardSet(folders)

    def lines(*counted: bool) -> set[int]:
        return {each for piece in shards.line_hashes(np.asarray(counted)) for each in piece.tolist()}

    assert lines(True, True, True, True) == {each for text in texts for each in line_hashes(text).tolist()}
    assert lines(False, True, False, True) == {
        each for text in (texts[1], texts[3]) for each in line_hashes(text).tolist()
    }
    assert lines(False, False, False, False) == set()


def test_a_shard_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "000000")
    writer.add(Row(DOCUMENT, "0", "docs", {}), sketch(DOCUMENT.text), None)
    assert not (tmp_path / "000000").exists()
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_second_finisher_of_a_shard_is_thrown_away(tmp_path: Path) -> None:
    first, second = ShardWriter(tmp_path / "000000"), ShardWriter(tmp_path / "000000")
    first.finish(Tally().to_json())
    inode = (tmp_path / "000000").stat().st_ino
    second.finish(Tally().to_json())
    second.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["000000"]
    assert (tmp_path / "000000").stat().st_ino == inode


def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError):
        ShardWriter(tmp_path / "file" / "000000")
