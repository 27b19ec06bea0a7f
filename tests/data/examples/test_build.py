import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.config.sections import SplitOptions
from llmkit.data.dataset import Dataset, DatasetResult
from llmkit.data.examples.build import TrainingSetOptions, build_training_set
from llmkit.data.schemas import ExampleSchema, LabelExample, PreferenceExample, SpanExample
from llmkit.errors import DataError
from llmkit.reporting.reporter import Silent

SHARED = Path(__file__).parents[4] / "shared" / "data"


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def build(
    out: Path, schema: ExampleSchema, *files: Path, reporter: Silent | None = None, **options: Any
) -> tuple[DatasetResult, Dataset]:
    chosen = TrainingSetOptions(**options)
    result = build_training_set(files, out, schema, chosen, reporter=reporter or Silent())
    return result, Dataset.open(out)


def chats(count: int) -> list[dict[str, object]]:
    return [{"prompt": f"質問 {n}", "completion": f"答え {n}"} for n in range(count)]


def test_every_row_is_in_the_dataset_or_among_its_drops(tmp_path: Path) -> None:
    rows = [
        *chats(40),
        chats(1)[0],
        {"prompt": "x", "completion": ""},
        "{oops",
        {"prompt": "質問 1", "completion": "他"},
    ]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    result, dataset = build(tmp_path / "out", "chat", path)
    kept = list(dataset.examples())
    drops = [(drop.record, drop.step, drop.reason) for drop in dataset.drops()]
    assert {each.record for each in kept} | {record for record, _, _ in drops} == {str(n + 1) for n in range(44)}
    assert sorted(drops) == [
        ("41", "dedup", "exact_duplicate"),
        ("42", "check", "empty_turn"),
        ("43", "read", "bad_json"),
    ]
    report: Any = result.report
    assert dataset.report() == report
    assert [(step["step"], step.get("examples")) for step in report["steps"]] == [
        ("collect", None),
        ("read", 43),
        ("check", 42),
        ("dedup", 41),
    ]
    assert report["drops"] == {
        "check": {"empty_turn": 1},
        "read": {"bad_json": 1},
        "dedup": {"exact_duplicate": 1},
    }
    (sample,) = report["samples"]["check/empty_turn"]
    assert (sample["record"], sample["source"]) == ("42", str(path))
    assert '"prompt": "x"' in sample["excerpt"]
    assert report["forms"] == {"prompt": 42}
    assert report["turns"] == {"2": 41}
    assert sum(report["lengths"]["all"].values()) == sum(result.rows.values()) == 41
    assert report["steps"][-1]["characters"] == sum(each.characters for each in kept)
    assert {each.split for each in kept if each.prompt[0].content == "質問 1"} in ({"train"}, {"validation"}, {"test"})


def test_strict_stops_with_the_first_bad_rows_and_their_number(tmp_path: Path) -> None:
    bad = {"prompt": "x", "completion": ""}
    path = jsonl(tmp_path / "a.jsonl", *chats(3), *[bad] * 7)
    with pytest.raises(DataError, match="7 of 10 rows") as caught:
        build(tmp_path / "out", "chat", path, strict=True)
    assert caught.value.where == f"{path}:4"
    assert all(f"{path}:{line}: turn 2" in caught.value.message for line in range(4, 9))
    assert "2 more" in caught.value.message
    reporter = Silent()
    result, _ = build(tmp_path / "out2", "chat", path, reporter=reporter)
    assert result.rows["train"] == 3
    assert "7 of 10 rows cannot be used and were dropped: 7 empty turn" in reporter.warnings


def test_a_text_with_two_labels_is_dropped_under_both(tmp_path: Path) -> None:
    rows = [
        {"text": "良い", "label": 1},
        {"text": "悪い", "label": 0},
        {"text": "良い", "label": 0},
        {"text": "悪い", "label": 0},
        {"text": "良い ", "label": 1},
    ]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    result, dataset = build(tmp_path / "out", "label", path)
    assert [(each.text, each.label) for each in dataset.examples(None, "label")] == [("悪い", "0"), ("良い ", "1")]
    assert sorted((drop.record, drop.reason) for drop in dataset.drops()) == [
        ("1", "conflicting_label"),
        ("3", "conflicting_label"),
        ("4", "exact_duplicate"),
    ]
    assert (result.report["labels"], result.report["distinct_labels"]) == ({"0": 1, "1": 1}, 2)
    kept, _ = build(tmp_path / "all", "label", path, conflicts="keep", repeats="keep")
    assert sum(kept.rows.values()) == 5


def test_pairs_with_the_parts_swapped_are_no_duplicates(tmp_path: Path) -> None:
    rows = [{"text": "ab", "text_pair": "c", "label": 1}, {"text": "a", "text_pair": "bc", "label": 1}]
    result, _ = build(tmp_path / "out", "label", jsonl(tmp_path / "a.jsonl", *rows))
    assert sum(result.rows.values()) == 2


def span(context: int, question: int) -> dict[str, object]:
    text = f"段落{context}の文章。"
    return {
        "question": f"問 {question}",
        "context": text,
        "answers": {"text": ["文章"], "answer_start": [text.find("文")]},
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=60), st.integers(0, 5))
def test_no_context_is_trained_on_and_tested_with(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[int, int]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("span")
    path = jsonl(folder / "a.jsonl", *[span(context, question) for context, question in cells])
    result, dataset = build(folder / "out", "span", path, seed=seed, split=SplitOptions(validation=0.2, test=0.2))
    found = list(dataset.examples(None, "span"))
    splits: dict[str, set[object]] = {}
    for each in found:
        splits.setdefault(each.context, set()).add(each.split)
    assert all(len(names) == 1 for names in splits.values())
    assert len(found) == len(set(cells)) == sum(result.rows.values())
    assert Counter(each.split for each in found) == Counter({k: v for k, v in result.rows.items() if v})
    assert list(result.missing) == result.report["missing_splits"]


def test_the_splits_of_the_data_are_kept_and_what_they_share_is_reported(tmp_path: Path) -> None:
    train, dev = tmp_path / "train.jsonl", tmp_path / "dev.jsonl"
    jsonl(train, *chats(20))
    jsonl(dev, {"prompt": "質問 0", "completion": "別の答え"}, {"prompt": "新しい", "completion": "答え"})
    reporter = Silent()
    result, dataset = build(tmp_path / "out", "chat", train, dev, reporter=reporter)
    assert result.rows == {"train": 20, "validation": 2, "test": 0}
    assert list(result.missing) == ["test"]
    assert {each.split for each in dataset.examples() if each.source == str(dev)} == {"validation"}
    assert result.report["straddling"] == 1
    assert any("several of the data's own splits" in warning for warning in reporter.warnings)
    alone, _ = build(tmp_path / "alone", "chat", train)
    assert alone.rows["validation"] > 0


def test_data_with_a_test_part_and_no_other_give_a_validation_part_of_what_is_trained_on(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    jsonl(train, *chats(200))
    jsonl(test, *({"prompt": f"another {n}", "completion": "answer"} for n in range(40)))
    result, dataset = build(tmp_path / "out", "chat", train, test)
    assert result.rows["test"] == 40 and 2 <= result.rows["validation"] <= 40
    assert sum(result.rows.values()) == 240 and not result.missing
    held_out = [each for each in dataset.examples() if each.split == "validation"]
    assert {each.source for each in held_out} == {str(train)}
    assert {each.split for each in dataset.examples() if each.source == str(test)} == {"test"}


def test_the_wrong_schema_is_named_or_warned_of(tmp_path: Path) -> None:
    preferences = jsonl(tmp_path / "p.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"})
    with pytest.raises(DataError, match="it looks like preference pairs, and texts with labels are needed") as caught:
        build(tmp_path / "a", "label", preferences)
    assert "--for preference" in str(caught.value.mend)
    labels = jsonl(tmp_path / "l.jsonl", {"text": "a", "label": 1})
    reporter = Silent()
    build(tmp_path / "b", "chat", labels, reporter=reporter)
    assert any("did you mean --for label?" in warning for warning in reporter.warnings)
    with pytest.raises(DataError, match="no example to train on") as caught:
        build(tmp_path / "c", "chat", jsonl(tmp_path / "x.jsonl", {"x": 1}))
    assert "x.jsonl:1: no known fields" in str(caught.value.mend)
    assert "'prompt' and 'completion'" in str(caught.value.mend)


def test_a_set_that_teaches_nothing_is_warned_of_or_refused(tmp_path: Path) -> None:
    reporter = Silent()
    rows = [{"text": f"{n}", "label": "same"} for n in range(3)]
    build(tmp_path / "a", "label", jsonl(tmp_path / "test.jsonl", *rows), reporter=reporter)
    assert any("all examples have the same label" in warning for warning in reporter.warnings)
    assert any("no example is there to train on" in warning for warning in reporter.warnings)
    conflict = jsonl(tmp_path / "c.jsonl", {"text": "a", "label": 1}, {"text": "a", "label": 0})
    with pytest.raises(DataError, match="no example to train on") as caught:
        build(tmp_path / "b", "label", conflict)
    assert "2 conflicting label" in str(caught.value.mend)
    with pytest.raises(DataError, match="no example to train on") as caught:
        build(tmp_path / "c", "label", jsonl(tmp_path / "empty.jsonl"))
    assert "no rows" in str(caught.value.mend)


def test_the_same_files_make_the_same_dataset_in_every_process(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[{"text": f"文 {n % 37}", "label": n % 5} for n in range(200)])
    code = (
        "import sys; from pathlib import Path; from llmkit.reporting.reporter import Silent\n"
        "from llmkit.data.examples.build import TrainingSetOptions as T, build_training_set as b\n"
        "b([Path(sys.argv[1])], Path(sys.argv[2]), 'label', T(), reporter=Silent())"
    )
    for name, seed in (("one", "1"), ("two", "2")):
        command = [sys.executable, "-c", code.replace("T()", "T(conflicts='keep')"), str(path), str(tmp_path / name)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed}, cwd=Path(__file__).parents[3])
    for file in ("labels.parquet", "drops.parquet", "report.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "drops.parquet",
        "labels.parquet",
        "report.json",
    ]


def real(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name}, which is not part of the repository")
    return path


@pytest.mark.needs_shared
def test_squad_and_jaquad_are_read_whole_and_every_answer_is_in_its_place(tmp_path: Path) -> None:
    files = [real("squad/squad2_16_articles.json"), real("jaquad/jaquad_dev_0000.json")]
    for number, file in enumerate(files):
        _, dataset = build(tmp_path / str(number), "span", file)
        found = list(dataset.examples(None, "span"))
        questions = sum(
            len(paragraph["qas"])
            for article in json.loads(file.read_text(encoding="utf-8"))["data"]
            for paragraph in article["paragraphs"]
        )
        assert len(found) + len(list(dataset.drops())) == questions > 500
        assert all(isinstance(each, SpanExample) and each.meta["id"] for each in found)
        assert all(each.context[answer.start :].startswith(answer.text) for each in found for answer in each.answers)
    report: Any = Dataset.open(tmp_path / "0").report()
    assert (report["answerable"], report["unanswerable"]) == (2910, 3168)


@pytest.mark.needs_shared
def test_sst2_is_read_whole(tmp_path: Path) -> None:
    result, dataset = build(tmp_path / "out", "label", real("sst2/dev.tsv"), repeats="keep", conflicts="keep")
    assert sum(result.rows.values()) == 872
    assert dataset.report()["distinct_labels"] == 2
    assert all(isinstance(each, LabelExample) for each in dataset.examples(None, "label"))


@pytest.mark.needs_shared
def test_gsm8k_is_read_whole(tmp_path: Path) -> None:
    result, _ = build(tmp_path / "out", "chat", real("gsm8k/test.jsonl"))
    assert result.rows == {"train": 0, "validation": 0, "test": 1319}


@pytest.mark.needs_shared
def test_hh_rlhf_is_split_into_prompts_and_what_each_answers(tmp_path: Path) -> None:
    file = real("hh_rlhf/harmless_base_test.jsonl.gz")
    _, dataset = build(tmp_path / "out", "preference", file, repeats="keep")
    with gzip.open(file) as lines:
        rows = {str(number): json.loads(line) for number, line in enumerate(lines, start=1)}
    found = list(dataset.examples(None, "preference"))
    assert len(found) + len(list(dataset.drops())) == len(rows) == 2312
    assert len(found) > 2250
    for each in found:
        assert isinstance(each, PreferenceExample)
        whole = "".join("".join(m.content.split()) for m in (*each.prompt, *each.chosen))
        text = rows[each.record]["chosen"].replace("\n\nHuman:", "").replace("\n\nAssistant:", "")
        assert whole == "".join(text.split())
