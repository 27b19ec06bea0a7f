"""The cards of what `finetune-lora` makes: the Hub's pipeline, the scores, and a snippet that loads the model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import transformers
from huggingface_hub import ModelCard
from support.reading import as_squad, save_encoder, toy_questions, toy_tokenizer
from support.tiny import tiny_model

QUICK = ("--compile", "off", "--precision", "fp32", "--eval-every", "0", "--batch-size", "8", "--steps", "2")


def labelled(number):
    return {"text": f"good {number}", "label": ("no", "yes", "so")[number % 3]}


ROWS = {
    "classify": labelled,
    "regress": lambda number: {"text": f"bad {number}", "label": float(number % 3)},
    "tag": lambda number: {"text": f"Ann met {number}", "spans": [[0, 3, "PER"]]},
    "embed": lambda number: {"prompt": f"good {number}", "completion": f"bad {number}"},
}
EXPECTED = {
    "classify": ("text-classification", "SequenceClassification"),
    "regress": ("text-classification", "SequenceClassification"),
    "tag": ("token-classification", "TokenClassification"),
    "qa": ("question-answering", "QuestionAnswering"),
    "embed": ("sentence-similarity", "Model"),
}


def snippet(card, folder, base):
    """What a reader gets who copies the lines into Python, in the folder."""
    lines = re.search(r"in this folder:\n\n((?:    .*\n|\s*\n)+)", card.text)[1]
    code = re.sub(r"^    ", "", lines, flags=re.MULTILINE).replace('"BASE"', repr(str(base)))
    names = {}
    exec(code.replace('"."', repr(str(folder))), names)
    return names


@pytest.mark.parametrize(
    ("task", "family", "method"),
    [
        ("qa", "bert", "full"),
        ("classify", "llama", "lora"),
        ("regress", "bert", "full"),
        ("tag", "bert", "lora"),
        ("embed", "bert", "full"),
    ],
)
def test_a_card_names_the_pipeline_and_its_snippet_loads_the_model(cli, task, family, method):
    data = cli.folder / f"rows.json{'' if task == 'qa' else 'l'}"
    if task == "qa":
        base = save_encoder(cli.folder / "base", toy_tokenizer())
        data.write_text(json.dumps(as_squad(toy_questions(40))))
    else:
        base = tiny_model(cli.folder / "base", family, ["good bad Ann met"])
        data.write_text("".join(f"{json.dumps(ROWS[task](number))}\n" for number in range(40)))
    if task == "tag":
        cli.ok("preprocess", data, "--for", "tag", "--name", "names")
        data = "names"
    asked = ("finetune-lora", "--model", base, "--data", data, "--task", task, "--method", method, "--name", "tuned")
    result = cli.ok(*asked, *QUICK)
    folder = Path(result["artifact"]["path"])
    card = ModelCard.load(folder / "README.md", ignore_metadata_errors=False)
    pipeline, named = EXPECTED[task]
    assert card.data.pipeline_tag == pipeline
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    for name, score in result["scores"].items():
        assert measured[name] == pytest.approx(score["after"], rel=1e-4)
        assert re.search(rf"^\| {name.split('@')[0].replace('_', ' ')}.*\|.*\| {score['n']} \|$", card.text, re.M)
    names = snippet(card, folder, base)
    model = names["model"]
    if task == "embed" and method == "full":
        assert model.encode(["good"]).shape == (1, model.get_embedding_dimension())
        return
    inner = model.get_base_model() if method == "lora" else model
    assert type(inner).__name__.endswith(named)
    assert isinstance(names["tokenizer"], transformers.PreTrainedTokenizerBase)
    if task in ("classify", "regress", "tag"):
        assert inner.config.num_labels == {"classify": 3, "regress": 1, "tag": 2}[task]  # of tags: O and B-PER
