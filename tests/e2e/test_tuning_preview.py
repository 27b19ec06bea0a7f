"""`llmkit finetune-lora preview` through the real command, on the model and the data of the chain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

QUESTIONS = ("ant", "bee", "cat", "dog")


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def chat(*turns: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]}


@pytest.fixture(scope="module")
def chats(chain: Any) -> str:
    return write(chain.folder, "seen.jsonl", [chat(f"Say {one}", f"the {one}", "Again", one) for one in QUESTIONS])


def test_a_preview_shows_what_is_served_through_the_batch_itself(chain: Any, chats: str) -> None:
    seen = chain.ok("finetune-lora", "preview", "--model", "base", "--data", chats, "-n", 2)
    assert [sample["where"] for sample in seen["samples"]] == ["seen.jsonl:1", "seen.jsonl:2"]
    (first,) = seen["samples"][0]["rows"]
    assert [piece["text"] for piece in first["pieces"] if piece["learned"]] == ["the ant<|im_end|>", "ant<|im_end|>"]
    assert (first["trained"], first["bos"]) == (sum(first["learned"]), 0)
    tokenizer = AutoTokenizer.from_pretrained(chain.ok("registry", "show", "base")["path"])
    rows = [json.loads(line) for line in (chain.folder / chats).read_text().splitlines()]
    served = tokenizer.apply_chat_template(rows[0]["messages"], return_dict=True)["input_ids"]
    # The last token, a line end after the last reply, is not learned, so no batch has it.
    assert first["ids"] == served[:-1]


def test_a_packed_preview_shows_the_same_tokens_in_shared_rows(chain: Any, chats: str) -> None:
    words = ("finetune-lora", "preview", "--model", "base", "--data", chats, "-n", 4)
    apart, together = (
        [sample["rows"][0] for sample in chain.ok(*words, *more)["samples"]] for more in ((), ("--packing",))
    )
    for one, other in zip(apart, together, strict=True):
        assert (one["ids"], one["learned"]) == (other["ids"], other["learned"])
    rows = [row["place"].split(",")[0] for row in together]
    assert len(set(rows)) < len(rows)


def test_a_preview_is_also_a_page_and_says_what_is_cut_and_what_is_refused(chain: Any) -> None:
    name = write(chain.folder, "odd.jsonl", [chat("hi", "ho"), chat("hi", ""), chat("hi", "ho " * 40)])
    words = ("finetune-lora", "preview", "--model", "base", "--data", name, "--sequence-length", 30)
    ran = chain(*words, "--over-length", "truncate", "--html", "seen.html")
    assert ran.code == 4
    assert "⟦ho<|im_end|>⟧" in ran.out
    assert "⟨cut: " in ran.out
    assert "no end of turn or text is learned from it" in ran.out
    assert "odd.jsonl:2: turn 2 (assistant) is empty" in ran.out
    page = (chain.folder / "seen.html").read_text(encoding="utf-8")
    assert "<ins>ho&lt;|im_end|&gt;</ins>" in page
    stopped = chain(*words)
    assert stopped.code == 4
    assert "odd.jsonl:3: an example of " in stopped.out
    assert "use --over-length drop, truncate or split" in stopped.out


def test_a_dataset_of_the_registry_and_other_tasks_are_seen_too(chain: Any) -> None:
    rows = [
        {"tokens": ["Anna", "reads"], "tags": ["B-PER", "O"]},
        {"tokens": ["Rome", "waits"], "tags": ["B-LOC", "O"]},
    ]
    name = write(chain.folder, "tagged.jsonl", rows * 6)
    chain.ok("preprocess", name, "--for", "tag", "--name", "tagged", "--tokenizer", "none")
    for data in ("tagged", name):
        ran = chain("finetune-lora", "preview", "--model", "base", "--data", data, "-n", 1)
        assert ran.code == 0, ran.err
        assert "B-PER:" in ran.out and "one of 3 tags for each word, at its last token" in ran.out
