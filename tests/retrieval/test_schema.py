"""The SQLite file of an index, as it is opened."""

from pathlib import Path

from llmkit.retrieval.schema import connect


def test_connecting_twice_to_write_makes_one_schema(tmp_path: Path) -> None:
    for _ in range(2):
        db = connect(tmp_path, write=True)
        uuid = db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
        db.close()
    assert len(uuid[0]) == 16
