"""The facts that are kept of a document, and what follows when only they change."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from llmkit.errors import DataError
from llmkit.retrieval.facts import facts_of
from llmkit.retrieval.schema import FILE, SCHEMA_VERSION, connect
from llmkit.text.document import Document

from .conftest import Hashed, build


def test_what_is_one_short_value_is_kept_and_what_changes_with_each_fetch_is_not() -> None:
    meta = {
        "title": "手引き",
        "lang": "ja",
        "year": 1999,
        "score": 0.5,
        "draft": False,
        "bad": float("nan"),
        "empty": "",
        "long": "x" * 501,
        "list": [1],
        "nested": {"a": 1},
        "nothing": None,
        "retrieved": "2026-01-01",
    }
    assert json.loads(facts_of(Document("/a.html", "x", "text/html", meta=meta))) == {
        "title": "手引き",
        "lang": "ja",
        "year": 1999,
        "score": 0.5,
        "draft": False,
        "media": "text/html",
    }


def test_they_are_stored_and_a_change_of_them_alone_is_a_change_that_embeds_nothing(
    tmp_path: Path, hashed: Hashed
) -> None:
    def made(**meta: object) -> Document:
        return Document("/a.txt", "The text stays as it is.", record="1", meta=meta)

    build(tmp_path, [made(lang="en", author="A")], hashed)
    hashed.texts.clear()
    assert not build(tmp_path, [made(author="A", lang="en", retrieved="now")], hashed)
    assert str(build(tmp_path, [made(lang="en", author="B\udce9")], hashed)) == "+0 ~1 -0 =0"
    assert hashed.texts == []
    db = connect(tmp_path, write=False)
    (meta,) = db.execute("SELECT meta FROM documents WHERE removed IS NULL").fetchone()
    assert json.loads(meta) == {"author": "B\udce9", "lang": "en", "media": "text/plain"}


@pytest.mark.parametrize(("schema", "age"), [(SCHEMA_VERSION - 1, "an older"), (SCHEMA_VERSION + 1, "a newer")])
def test_an_index_of_another_schema_says_whose_it_is_and_what_to_do(
    tmp_path: Path, hashed: Hashed, schema: int, age: str
) -> None:
    build(tmp_path, [Document("/a.txt", "Text.")], hashed)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(schema),))
    for write in (False, True):
        with pytest.raises(DataError, match=f"{age} llmkit") as caught:
            connect(tmp_path, write=write)
        assert "--name" in str(caught.value.mend)
