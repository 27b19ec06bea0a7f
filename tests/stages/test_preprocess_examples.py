"""`preprocess --for`: rows of files to examples of one schema, and every bad row with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmkit.config.resolve import flag_layer, resolve
from llmkit.data.dataset import Dataset
from llmkit.errors import DataError, UsageError
from llmkit.registry.store import Registry
from llmkit.reporting.reporter import Silent
from llmkit.stages.base import Mode, execute
from llmkit.stages.preprocess import STAGE, PreprocessConfig
from llmkit.stages.trial import try_out

ROWS: dict[str, list[dict[str, Any]]] = {
    "chat": [
        {
            "messages": [
                {"role": "user", "content": f"猫 {n} の名前は？"},
                {"role": "assistant", "content": "まだ無い。"},
            ]
        }
        for n in range(4)
    ],
    "label": [{"text": f"text number {n}", "label": "good" if n % 2 else "bad"} for n in range(4)],
    "span": [
        {
            "id": str(n),
            "question": f"Who keeps tower {n}?",
            "context": f"Tower {n} is kept by Anna.",
            "answers": {"text": ["Anna"], "answer_start": [f"Tower {n} is kept by Anna.".index("Anna")]},
        }
        for n in range(4)
    ],
    "preference": [{"prompt": f"Say {n}.", "chosen": f"It is {n}.", "rejected": "No."} for n in range(4)],
}
BAD: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "assistant", "content": "first"}, {"role": "user", "content": "second"}]},
    "label": {"text": "", "label": "good"},
    "span": {
        "id": "9",
        "question": "Who?",
        "context": "Nobody is here.",
        "answers": {"text": ["Anna"], "answer_start": [0]},
    },
    "preference": {"prompt": "Say.", "chosen": "The same.", "rejected": "The same."},
}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def config(*inputs: Path, **given: Any) -> Any:
    given = {"inputs": tuple(map(str, inputs)), "name": "rows"} | given
    return resolve(PreprocessConfig, [flag_layer(PreprocessConfig, given)])


def do(registry: Registry, *inputs: Path, **given: Any) -> Any:
    return execute(STAGE, config(*inputs, **given), registry, Silent(), Mode())


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("schema", list(ROWS))
def test_rows_become_examples_and_a_bad_row_is_dropped_with_its_line(
    registry: Registry, tmp_path: Path, schema: str
) -> None:
    path = jsonl(tmp_path / "a.jsonl", *ROWS[schema], BAD[schema])
    result = do(registry, path, for_=schema)
    dataset = Dataset.open(result.artifact.path)
    assert dataset.schema == schema
    (drop,) = dataset.drops()
    assert (drop.source, drop.record, drop.step) == (str(path), "5", "check")
    assert drop.reason
    assert drop.detail
    report = result.payload["report"]
    assert report["schema"] == schema
    assert sum(split["examples"] for split in report["splits"].values()) == 4
    assert {"report.html", "README.md", "report.json"} <= {file.name for file in result.artifact.path.iterdir()}
    assert STAGE.headline(result.payload) == "4 examples"
    assert STAGE.show(result.payload)


def test_chats_in_four_layouts_are_unified_into_one_schema(registry: Registry, tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "messages": ROWS["chat"][0],
        "pairs": {"prompt": "What is two and two?", "completion": "Four."},
        "alpaca": {"instruction": "Translate.", "input": "bonjour", "output": "hello"},
        "sharegpt": {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "A keeper."}]},
    }
    folder = tmp_path / "in"
    folder.mkdir()
    for name, row in rows.items():
        jsonl(folder / f"{name}.jsonl", row)
    examples = {
        Path(each.source).stem: each
        for each in Dataset.open(do(registry, folder, for_="chat").artifact.path).examples()
    }
    assert {name: each.completion for name, each in examples.items()} == {
        "messages": "まだ無い。",
        "pairs": "Four.",
        "alpaca": "hello",
        "sharegpt": "A keeper.",
    }
    assert all([message.role for message in each.prompt] == ["user"] for each in examples.values())
    assert "bonjour" in examples["alpaca"].prompt[0].content


@pytest.mark.parametrize("schema", list(ROWS))
def test_strict_refuses_a_bad_row_by_file_and_line(registry: Registry, tmp_path: Path, schema: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", *ROWS[schema], BAD[schema])
    with pytest.raises(DataError, match=r"a\.jsonl:5") as caught:
        do(registry, path, for_=schema, strict=True)
    assert caught.value.exit_code == 4
    assert "--strict" in str(caught.value.mend)
    assert registry.versions("rows") == []


@pytest.mark.parametrize(
    ("asked", "held"),
    [("chat", "preference"), ("chat", "span"), ("label", "chat"), ("span", "label"), ("preference", "chat")],
)
def test_the_wrong_purpose_is_refused_and_the_right_one_named(
    registry: Registry, tmp_path: Path, asked: str, held: str
) -> None:
    path = jsonl(tmp_path / "a.jsonl", *ROWS[held])
    with pytest.raises(DataError) as caught:
        do(registry, path, for_=asked)
    assert f"--for {held}" in f"{caught.value.message} {caught.value.mend}"


def test_no_file_of_examples_is_refused_with_what_would_do(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A page of text\n\nIt holds no rows at all.\n")
    with pytest.raises(DataError, match="not a file of examples") as caught:
        do(registry, tmp_path / "a.md", for_="chat")
    assert "JSONL" in str(caught.value.mend)


def test_a_trial_is_for_texts(registry: Registry, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *ROWS["chat"])
    cfg = config(path, for_="chat").config
    with pytest.raises(UsageError, match="--dry-run N"):
        try_out(cfg, STAGE.inputs(cfg, registry), 5)
