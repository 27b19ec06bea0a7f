"""Vectors of other stores: taken where they are, embedded where not; another store's trouble is not this one's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmkit.retrieval.schema import FILE
from llmkit.retrieval.sharing import SharingEmbedder
from llmkit.retrieval.store import View
from llmkit.text.document import Document

from .conftest import Hashed, build

DOCUMENTS = [Document(f"{n}.txt", f"Number {n} is {'even' if n % 2 == 0 else 'odd'}.") for n in range(1200)]


def sharing(hashed: Hashed, *stores: Path) -> SharingEmbedder:
    hashed.texts.clear()
    return SharingEmbedder(hashed, stores)


def test_a_second_index_of_the_same_texts_embeds_nothing_and_holds_the_same(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path / "first", DOCUMENTS, hashed)
    second = sharing(hashed, tmp_path / "first")
    build(tmp_path / "second", DOCUMENTS, second)
    assert hashed.texts == [] and second.found == len(DOCUMENTS)
    views = [View(tmp_path / name) for name in ("first", "second")]
    (rows, one), (_, other) = (view.vectors for view in views)
    assert len(rows) == len(DOCUMENTS) and np.array_equal(one, other)


def test_only_what_no_store_holds_is_embedded_each_once_and_in_order(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path / "a", DOCUMENTS[:3], hashed)
    build(tmp_path / "b", DOCUMENTS[2:5], hashed)
    texts = [*dict.fromkeys(hashed.texts), "five", "six", "seven"]
    asked = [*texts, *texts[::-1]]
    made = sharing(hashed, tmp_path / "a", tmp_path / "b", tmp_path / "gone")
    found = made.encode(asked)
    assert hashed.texts == texts[5:] and made.found == 5
    assert np.allclose(found, hashed.encode(asked), atol=1e-3)
    assert made.encode([]).shape == (0, hashed.dimension)


def test_questions_are_not_looked_up(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path / "a", DOCUMENTS[:3], hashed)
    text = hashed.texts[0]
    made = sharing(hashed, tmp_path / "a")
    made.encode([text], role="query")
    assert hashed.texts == [text]


def test_stores_of_another_encoder_or_damaged_ones_are_passed_over(tmp_path: Path, hashed: Hashed) -> None:
    other = Hashed()
    other.digest = "1" * 64
    build(tmp_path / "other", DOCUMENTS[:3], other)
    build(tmp_path / "words", DOCUMENTS[:3], None)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / FILE).write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / FILE).touch()
    stores = [tmp_path / name for name in ("other", "words", "damaged", "empty")]
    made = sharing(hashed, *stores)
    made.encode(other.texts)
    assert hashed.texts == other.texts and made.found == 0


def test_it_stands_for_its_encoder(tmp_path: Path, hashed: Hashed) -> None:
    made = SharingEmbedder(hashed, [])
    assert (made.name, made.digest, made.dimension, made.max_tokens) == ("hashed", "0" * 64, 32, 254)
    assert made.count_tokens(["one two"]) == [2] and made.unknown_tokens(["x"]) == 0
