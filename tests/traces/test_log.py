"""The record of questions: what goes in comes out, for as long as it may stay, whoever else writes or dies."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmkit.errors import DataError, StorageError
from llmkit.traces.log import Passage, Retention, Trace, TraceLog, Used, to_json

ASKED = Trace(
    "ask",
    "東大寺の大仏の高さは？",
    "約15メートル [1]",
    False,
    0.25,
    (Used("index", "kb@1", "a" * 64), Used("reader", "reader@2", "b" * 64)),
    (Passage("/docs/temple.txt", "", "c" * 64, 10, 42, 0.75, True), Passage("/x", "7", "d" * 64, 0, 3, 0.5, False)),
    {"evidence": {"score": 0.5}},
)


@pytest.fixture
def log(tmp_path: Path) -> TraceLog:
    return TraceLog(tmp_path / "traces.sqlite")


def test_what_is_recorded_is_read_again(log: TraceLog) -> None:
    before = datetime.now(UTC)
    identity = log.record(ASKED)
    (found,) = log.traces()
    assert replace(found, id="", asked=None) == ASKED
    assert found.id == identity and found.asked is not None and before <= found.asked <= datetime.now(UTC)
    assert log.find(identity) == found and log.find("0" * 16) is None
    assert to_json(found)["passages"][0]["end"] == 42


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(question=st.text(), answer=st.text(), source=st.text(alphabet=st.characters(codec=None)))
def test_any_text_can_be_recorded(log: TraceLog, question: str, answer: str, source: str) -> None:
    place = replace(ASKED.passages[0], source=source)
    found = log.find(log.record(replace(ASKED, question=question, answer=answer, passages=(place,))))
    assert found is not None and (found.question, found.answer) == (question, answer)
    assert found.passages[0].source == source.encode("utf-8", "replace").decode()


def test_only_its_owner_may_read_it(log: TraceLog) -> None:
    log.record(ASKED)
    held = sqlite3.connect(log.path)  # keeps the files beside it
    held.execute("SELECT * FROM traces").fetchall()
    log.record(ASKED)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in log.path.parent.iterdir()}
    held.close()
    assert len(modes) == 3 and set(modes.values()) == {0o600}


def test_the_latest_are_kept_by_number(log: TraceLog) -> None:
    for number in range(7):
        log.record(replace(ASKED, question=str(number)), Retention(count=3))
    assert [trace.question for trace in log.traces()] == ["6", "5", "4"]
    assert [trace.question for trace in log.traces(2)] == ["6", "5"]


def test_old_ones_are_deleted_with_their_passages(log: TraceLog) -> None:
    for days in (10, 3, 0):
        log.record(replace(ASKED, question=str(days), asked=datetime.now(UTC) - timedelta(days=days)))
    log.record(ASKED, Retention(days=5))
    assert [trace.question for trace in log.traces()] == [ASKED.question, "0", "3"]
    db = sqlite3.connect(log.path)
    assert db.execute("SELECT count(*) FROM passages").fetchone() == (6,)
    assert db.execute("SELECT count(*) FROM used").fetchone() == (6,)
    db.close()


def test_what_is_cleared_is_not_in_the_files_any_more(log: TraceLog) -> None:
    log.record(replace(ASKED, question="first-unlikely-words", asked=datetime.now(UTC) - timedelta(days=9)))
    log.record(replace(ASKED, question="second-unlikely-words"))
    assert log.clear(datetime.now(UTC) - timedelta(days=1)) == 1
    assert log.clear() == 1 and log.traces() == [] and log.clear() == 0
    left = b"".join(path.read_bytes() for path in log.path.parent.iterdir())
    assert b"unlikely-words" not in left


def test_reading_makes_no_file(log: TraceLog) -> None:
    assert log.traces() == [] and log.find("x") is None and log.clear() == 0
    assert not log.path.exists()


def test_only_those_that_nothing_answered(log: TraceLog) -> None:
    log.record(ASKED)
    log.record(replace(ASKED, abstained=True, question="unanswered"))
    assert [trace.question for trace in log.traces(abstained=True)] == ["unanswered"]


def write_some(path: Path, count: int) -> list[str]:
    return [TraceLog(path).record(ASKED) for _ in range(count)]


def test_several_writers_at_once_lose_nothing(log: TraceLog) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        written = [identity for each in pool.map(write_some, [log.path] * 4, [25] * 4) for identity in each]
    assert len(set(written)) == 100 and {trace.id for trace in log.traces()} == set(written)


WRITER = """
import sys; from pathlib import Path; from llmkit.traces.log import Trace, TraceLog
log = TraceLog(Path(sys.argv[1]))
while True:
    print(log.record(Trace("ask", "q", "a", False, 0.1)), flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(log: TraceLog) -> None:
    acknowledged: set[str] = set()
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(log.path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged.update(writer.stdout.readline().strip() for _ in range(20))
        time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged.update(line.strip() for line in writer.stdout.read().splitlines(keepends=True) if line[-1] == "\n")
        writer.wait()
        writer.stdout.close()
    assert acknowledged <= {trace.id for trace in log.traces()}
    db = sqlite3.connect(log.path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_damage_a_newer_schema_and_no_room_are_named(log: TraceLog, tmp_path: Path) -> None:
    log.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="damaged"):
        log.record(ASKED)
    log.path.unlink()
    log.record(ASKED)
    db = sqlite3.connect(log.path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    for work in (lambda: log.record(ASKED), log.traces, log.clear):
        with pytest.raises(DataError, match="schema 99"):
            work()
    with pytest.raises(StorageError) as caught:
        TraceLog(tmp_path / "no" / "such" / "traces.sqlite").record(ASKED)
    assert caught.value.mend and "--no-log" in caught.value.mend
