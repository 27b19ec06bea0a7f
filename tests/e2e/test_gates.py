"""Deciding about a release on the real command line: gates, baselines, comparisons, promotion, history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.chat_server import ChatServer

from llmkit.cli.app import main
from llmkit.generation.endpoint import EndpointModel

LIBRARY = """# The town library

The library opens at nine in the morning from Monday to Friday. It is closed on Sundays.

Books can be borrowed for four weeks. A loan can be renewed twice if nobody else has asked for the book.
"""
POOL = """# The swimming pool

The pool is heated to twenty-seven degrees in winter. Lockers need a coin of one euro.
"""
QUESTIONS = [
    {"id": "loan", "question": "How long can books be borrowed?", "answers": ["four weeks"]},
    {"id": "pool", "question": "How warm is the pool in winter?", "answers": ["twenty-seven degrees"]},
    {"id": "<b>coin</b>", "question": "What <i>coin</i> do the lockers need?", "answers": ["one euro"]},
    {"id": "none", "question": "Who painted the Mona Lisa?", "answers": [""]},
]


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Project:
    """A folder with documents, questions, a suite and an index, in which commands run in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "docs").mkdir()
        (folder / "docs" / "library.md").write_text(LIBRARY)
        (folder / "docs" / "pool.md").write_text(POOL)
        self.questions(QUESTIONS)
        (folder / "suite.yaml").write_text("- {id: answers, kind: qa, data: q.jsonl}\n")

    def questions(self, rows: list[dict[str, Any]]) -> None:
        (self.folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def __call__(self, *words: object) -> Said:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(word) for word in words])
        return Said(code, out.getvalue(), err.getvalue())

    def ok(self, *words: object) -> Any:
        said = self(*words, "--json")
        assert said.code == 0, said.err + said.out
        return said.json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("gates")
    project = Project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LLMKIT_HOME", str(folder / "home"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        project.ok("index", "docs", "--name", "kb")
        yield project


@pytest.fixture
def project(made: Project) -> Project:
    made.questions(QUESTIONS)
    return made


def test_a_failed_gate_ends_with_7_and_leaves_the_report_the_junit_file_and_the_summary(project: Project) -> None:
    words = ("eval", "suite.yaml", "--index", "kb", "--gate", "f1>=0.1", "--gate", "exact_match>=0.99", "--name", "bad")
    said = project(*words, "--junit", "e.xml", "--summary", "s.md", "--json")
    assert said.code == 7
    assert [gate["outcome"] for gate in said.json["gates"]] == ["passed", "failed"]
    assert ElementTree.parse(project.folder / "e.xml").getroot().get("failures") == "1"
    summary = (project.folder / "s.md").read_text()
    assert summary.startswith("## ❌ llmkit eval: 1 of 2 gates passed")
    assert "| ✗ failed | exact\\_match\\>=0.99 |" in summary
    (project.folder / "s.md").unlink()
    again = project(*words, "--summary", "s.md")
    assert again.code == 7, "a reused result fails its gates too"
    assert (project.folder / "s.md").read_text() == summary
    table = next(line for line in again.out.splitlines() if "exact_match>=0.99" in line)
    assert "✗ failed" in table and ">= 0.99" in table


def test_githubs_own_summary_is_appended_to(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = project.folder / "step.md"
    shared.write_text("what another step said\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(shared))
    project.ok("eval", "suite.yaml", "--index", "kb", "--gate", "f1>=0.1", "--summary", shared)
    assert shared.read_text().startswith("what another step said\n## ✅ llmkit eval: 1 of 1 gates passed")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [str(v) for k, v in attrs if k in ("src", "href") and not str(v).startswith("#")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_holds_figures_plots_and_items_and_fetches_nothing(project: Project) -> None:
    made = project.ok("eval", "suite.yaml", "--index", "kb", "--gate", "f1>=0.1", "--name", "paged")
    page = _Page()
    page.feed((Path(made["artifact"]["path"]) / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.text)
    assert "f1>=0.1" in text and "What <i>coin</i> do the lockers need?" in text
    assert {"table", "svg", "details"} <= page.tags
    assert page.fetched == [] and not {"script", "i", "img", "iframe"} & page.tags - {"i"}
    lineage = project.ok("registry", "lineage", "paged")
    assert {"index", "data answers"} <= {node["role"] for node in lineage["inputs"]}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--gate", "mrr>=0.5"), 2, "not measured"),
        (("--gate", "f1>=baseline"), 2, "add --baseline"),
        (("--gate", "latency_p95<=800"), 2, "no unit"),
        (("--baseline", "kb@prd"), 3, "--allow-missing-baseline"),
        (("--baseline", "kb@9", "--allow-missing-baseline"), 3, "kb@9"),
        (("--compare", "kb"), 2, "nothing to compare"),
        (("--compare", "kb,kb"), 2, "named twice"),
        (("--compare", "kb,nope"), 3, "nope"),
    ],
)
def test_what_cannot_be_decided_is_said_before_anything_is_measured(
    project: Project, words: tuple[str, ...], code: int, says: str
) -> None:
    index = () if "--compare" in words else ("--index", "kb")
    said = project("eval", "suite.yaml", *index, *words)
    assert (said.code, said.out) == (code, "")
    assert says in said.err


def test_a_comparison_has_no_gates(project: Project) -> None:
    said = project("eval", "suite.yaml", "--compare", "kb,kb@1", "--gate", "f1>=0.1")
    assert said.code == 2 and "no candidate" in said.err


def test_a_first_run_goes_on_without_its_baseline_and_the_next_one_has_it(project: Project) -> None:
    (project.folder / "ships").mkdir()
    (project.folder / "ships" / "loans.md").write_text(LIBRARY)
    project.ok("index", "ships", "--name", "fresh")
    words = ("eval", "suite.yaml", "--index", "fresh", "--baseline", "fresh@first", "--name", "first")
    gates = ("--gate", "point: f1>=baseline-0.01", "--gate", "f1>=0.1")
    made = project.ok(*words, *gates, "--allow-missing-baseline")
    assert [gate["outcome"] for gate in made["gates"]] == ["skipped", "passed"]
    assert any("fresh@first" in warning for warning in made["warnings"])
    project.ok("registry", "tag", "fresh@1", "first", "--if-gates")
    said = project("registry", "tag", "fresh@1", "again", "--if-gates")
    assert said.code == 7 and "stale" in said.err, "the report was made without the baseline that is there now"
    made = project.ok(*words, *gates, "--allow-missing-baseline")
    assert [gate["outcome"] for gate in made["gates"]] == ["passed", "passed"]
    project.ok("registry", "tag", "fresh@1", "again", "--if-gates")


def test_only_what_passed_is_promoted(project: Project) -> None:
    (project.folder / "more").mkdir()
    (project.folder / "more" / "tram.md").write_text("# The tram\n\nA monthly ticket costs forty euros.\n")
    project.ok("index", "more", "--name", "tram")

    def refused() -> str:
        said = project("registry", "tag", "tram@1", "prod", "--if-gates")
        assert said.code == 7, said.err + said.out
        assert project("eval", "suite.yaml", "--index", "tram@prod").code == 3, "the tag was set all the same"
        return " ".join(said.err.split())

    words = ("eval", "suite.yaml", "--index", "tram", "--name", "tram-report")
    assert "has not been evaluated" in refused()
    project.ok(*words)
    assert "without gates" in refused()
    assert project(*words, "--gate", "f1>=0.99").code == 7
    assert "f1>=0.99 failed" in refused()
    assert project(*words, "--gate", "sure: exact_match>=0.2").code == 7
    assert "inconclusive" in refused()
    project.ok(*words, "--gate", "exact_match>=0.2")
    project.questions([*QUESTIONS, {"id": "new", "question": "What costs a ticket?", "answers": ["forty euros"]}])
    assert "stale: the data answers changed since" in refused()
    project.questions(QUESTIONS)
    tagged = project("registry", "tag", "tram@1", "prod", "--if-gates")
    assert tagged.code == 0 and "passed: tram-report@" in tagged.out


def test_a_report_is_a_baseline_of_the_same_data_only(project: Project) -> None:
    project.ok("eval", "suite.yaml", "--index", "kb", "--name", "kept")
    made = project.ok("eval", "suite.yaml", "--index", "kb", "--baseline", "kept", "--gate", "f1>=baseline")
    assert made["gates"][0]["outcome"] == "passed" and made["comparisons"][0]["differences"]["f1"]["value"] == 0
    project.questions([*QUESTIONS[:-1], {**QUESTIONS[-1], "question": "Who painted Guernica?"}])
    said = project("eval", "suite.yaml", "--index", "kb", "--baseline", "kept", "--gate", "f1>=baseline")
    assert said.code == 4 and "another version of the data" in said.err


def test_systems_stand_side_by_side_with_what_they_cost(project: Project) -> None:
    with ChatServer(lambda messages: "four weeks") as server:
        words = ("eval", "suite.yaml", "--compare", f"kb,{server.ref},{server.ref}+kb")
        made = project.ok(*words, "--price-per-hour", "3.6", "--price-in", "1", "--price-out", "2")
    rows = {row["system"]: row for row in made["systems"]}
    assert list(rows) == ["kb", server.ref, f"{server.ref}+kb"]
    assert rows["kb"]["cost_per_1000"] > 0
    assert rows[server.ref]["cost_per_1000"] is None, "this endpoint counts no tokens, so its price is not known"
    assert {(pair["first"], pair["second"]) for pair in made["pairs"] if pair["metric"] == "f1"} == {
        ("kb", server.ref),
        ("kb", f"{server.ref}+kb"),
        (server.ref, f"{server.ref}+kb"),
    }
    assert all(pair["adjusted_p"] >= pair["difference"]["p_value"] for pair in made["pairs"])
    assert len(made["results"]) == 3 * 4 and {row["system"] for row in made["results"]} == set(rows)
    shown = project("eval", "suite.yaml", "--compare", "kb,kb@1").out
    assert "Holm" in shown and "no price is known" in shown


def test_no_gate_passes_on_part_of_the_data(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmkit.stages import models

    def reply(messages: list[dict[str, Any]]) -> str:
        if "Mona Lisa" in str(messages):
            raise BrokenPipeError
        return "four weeks"

    def impatient(found: Any, role: str = "model", **_: Any) -> EndpointModel:
        ref = found.raw[role].value
        return EndpointModel(ref.base_url, ref.model, retries=1, sleep=lambda seconds: None)

    monkeypatch.setattr(models, "generator", impatient)
    with ChatServer(reply) as server:
        words = ("eval", "suite.yaml", "--model", server.ref, "--gate", "f1>=0.01")
        said = project(*words, "--summary", "part.md", "--json")
    assert said.code == 7, said.err
    assert said.json["failures"] == {"answers": 1}
    assert said.json["gates"][0]["outcome"] == "inconclusive"
    assert "1 items could not be evaluated" in (project.folder / "part.md").read_text()


def test_a_metric_is_told_over_versions(project: Project) -> None:
    (project.folder / "docs" / "bus.md").write_text("# The bus\n\nThe bus to the harbour leaves every ten minutes.\n")
    try:
        before = project.ok("eval", "suite.yaml", "--index", "kb@1", "--name", "told")
        project.ok("index", "docs", "--name", "kb")
        after = project.ok("eval", "suite.yaml", "--index", "kb@2", "--name", "told")
    finally:
        (project.folder / "docs" / "bus.md").unlink()
    found = project.ok("eval", "history", "kb", "--metric", "f1", "--page", "h.html")["metrics"]
    values = {made["artifact"]["ref"]: made["metrics"]["answers.f1"] for made in (before, after)}
    assert [point["ref"] for point in found["answers.f1"]] == ["kb@1", "kb@2"]
    assert [point["value"] for point in found["answers.f1"]] == list(values.values())
    assert all(point["comparable"] for point in found["answers.f1"])
    page = _Page()
    page.feed((project.folder / "h.html").read_text(encoding="utf-8"))
    assert "svg" in page.tags and page.fetched == []
    assert "answers.f1" in project("eval", "history", "told").out
    wrong = project("eval", "history", "kb", "--metric", "exact_mach")
    assert wrong.code == 2 and "did you mean" in wrong.err
    assert project("eval", "history", "nobody").code == 3
