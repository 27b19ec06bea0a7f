"""The record of an answer: what was found with its digests, scrubbed on request, and never at the answer's price."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmkit.answering.abstain import Evidence
from llmkit.answering.answer import Answer, Citation
from llmkit.answering.retrieve import Considered, Retrieval
from llmkit.config.sections import RecordOptions
from llmkit.registry.store import Registry
from llmkit.reporting.reporter import Silent
from llmkit.retrieval.search import Hit
from llmkit.retrieval.store import StoredChunk
from llmkit.stages.base import Inputs, Raw
from llmkit.stages.question_log import Recorder, trace_log
from llmkit.text.document import Span

FOUND = Inputs(raw={"model": Raw("org/model", "e" * 64), "batch": Raw("q.jsonl", "f" * 64)})
ASKED = {
    "question": "Write to mia.lang@example.org?",
    "answer": "Her key is AKIAIOSFODNN7EXAMPLE, her mail mia.lang@example.org [1]",
    "abstained": False,
    "timings": {"search": 0.1},
    "unsupported": ["mia.lang@example.org"],
    "retrieved": ["not kept"],
}


def chunk(row: int, source: str, start: int) -> StoredChunk:
    values = {"row": row, "document": source, "source": source, "record": "", "media": "text/plain", "digest": "d" * 64}
    more = {"span": Span(start, start + 10), "line": 1, "page": None, "heading": "", "text": "ten chars."}
    return StoredChunk(**{name: {**values, **more}.get(name, {}) for name in StoredChunk._fields})


def an_answer() -> Answer:
    hits = [Considered(Hit(chunk(n, f"/{n}", 5), 0.5, 1.0, 0.5), 0.5, None, "used") for n in (1, 2)]
    left = Considered(Hit(chunk(3, "/3", 0), 0.1, 1.0, 0.5), 0.1, None, "beyond_k")
    retrieval = Retrieval("q", (), (), Evidence(0.5, 0.5, 0.5), (*hits, left))
    cited = Citation("/1", "chars", 8, 13, 1, None, 0.5, False)
    return Answer("a", False, (cited,), (), {}, considered=retrieval)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def test_an_answer_is_recorded_with_what_it_rests_on(registry: Registry) -> None:
    recorder = Recorder("ask", RecordOptions(), FOUND, registry, Silent())
    identity = recorder.record(ASKED, an_answer(), 0.5, session="s1")
    (trace,) = trace_log(registry).traces()
    assert trace.id == identity and (trace.question, trace.answer) == (ASKED["question"], ASKED["answer"])
    assert [(used.role, used.ref) for used in trace.used] == [("model", "org/model")]
    assert [(p.source, p.start, p.end, p.cited, p.digest) for p in trace.passages] == [
        ("/1", 5, 15, True, "d" * 64),
        ("/2", 5, 15, False, "d" * 64),
    ]
    assert trace.details == {"timings": {"search": 0.1}, "unsupported": ["mia.lang@example.org"]}
    assert trace.session == "s1" and not trace.scrubbed and trace.seconds == 0.5


def test_scrubbed_it_holds_no_personal_data_and_no_keys(registry: Registry) -> None:
    Recorder("ask", RecordOptions(scrub=True), FOUND, registry, Silent()).record(ASKED, None, 0.1)
    (trace,) = trace_log(registry).traces()
    assert trace.scrubbed and trace.question.startswith("Write to ") and "[1]" in trace.answer
    content = b"".join(path.read_bytes() for path in registry.home.glob("traces.sqlite*"))
    assert b"mia.lang" not in content and b"AKIA" not in content


def test_without_a_log_nothing_is_written(registry: Registry) -> None:
    assert Recorder("ask", RecordOptions(log=False), FOUND, registry, Silent()).record(ASKED, None, 0.1) is None
    assert not registry.home.exists()


def test_a_record_that_fails_is_one_warning_and_no_error(registry: Registry) -> None:
    registry.layout.prepare()
    (registry.home / "traces.sqlite").mkdir()
    reporter = Silent()
    recorder = Recorder("ask", RecordOptions(), FOUND, registry, reporter)
    assert recorder.record(ASKED, None, 0.1) is None and recorder.record(ASKED, None, 0.1) is None
    (warning,) = reporter.warnings
    assert "not recorded" in warning and "--no-log" in warning


def test_the_retention_of_the_options_holds(registry: Registry) -> None:
    recorder = Recorder("ask", RecordOptions(keep_questions=2), FOUND, registry, Silent())
    for number in range(4):
        recorder.record({**ASKED, "question": str(number)}, None, 0.1)
    assert [trace.question for trace in trace_log(registry).traces()] == ["3", "2"]
