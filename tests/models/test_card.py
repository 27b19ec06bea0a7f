"""A model card is what the Hub's own reader and a person can read, says what was recorded, and nobody's markup."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import transformers
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from llmkit.models.card import DataUsed, ModelFacts, model_card
from llmkit.models.uses import BY_TASK

DIGEST = "ab" * 32
REPORT: dict[str, Any] = {
    "languages": {"en": {"documents": 95}, "ja": {"documents": 4}, "fr": {"documents": 0}, "und": {"documents": 1}},
    "licences": {"MIT": {"documents": 75}, "unknown": {"documents": 25}},
    "pii": {"email": {"found": 7}},
    "pii_mode": "count",
    "splits": {"train": {"documents": 90}},
}
FACTS = ModelFacts(
    name="base",
    kind="model",
    objective="causal",
    model_type="gpt2",
    parameters=2_572_416,
    shape=[("layers", 4)],
    data=[DataUsed("corpus@1", DIGEST, REPORT, tokens=540_636, epochs=5.0)],
    inputs=[("data", "corpus@1", DIGEST)],
    command="llmkit pretrain --data corpus --steps 60",
    options={"steps": 60},
    metrics={"loss": 3.25, "perplexity": 25.79, "bits_per_byte": 1.2, "steps": 60, "trained_tokens": 2_703_180},
    verdict="held-out loss 8.3 to 3.25",
    packages={"llmkit": "1.0"},
)


def read(facts: ModelFacts) -> Any:
    return ModelCard(model_card(facts), ignore_metadata_errors=False)


def test_the_hubs_reader_finds_every_field_of_the_header() -> None:
    data = read(FACTS).data
    assert data.language == ["en", "ja"]
    assert data.license == "unknown"
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation"
    assert data.datasets == ["corpus"]
    assert data.tags == ["llmkit", "gpt2"]
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert results == {"loss": 3.25, "perplexity": 25.79, "bits_per_byte": 1.2}
    assert {result.dataset_split for result in data.eval_results} == {"validation"}


def test_an_adapter_names_its_base_and_what_that_was_made_from() -> None:
    facts = replace(
        FACTS,
        kind="adapter",
        base="base@1",
        base_inputs=[("data", "corpus@1", DIGEST)],
        data=[DataUsed("chats", DIGEST)],
    )
    card = read(facts)
    assert card.data.base_model == "base"
    assert card.data.library_name == "peft"
    assert "Its base, `base@1`, was made from:" in card.text
    assert "PeftModel.from_pretrained" in card.text


def test_it_says_plainly_what_limits_the_record_shows() -> None:
    text = read(FACTS).text
    assert "2,572,416 parameters it is a small model" in text
    assert "1.1 tokens for each parameter" in text  # 2,703,180 / 2,572,416
    assert "5 times over" in text
    assert "found and kept (7)" in text
    assert "licence of 25.0% of `corpus@1` is not known" in text


def test_limits_that_do_not_hold_are_not_claimed() -> None:
    clean = {**REPORT, "pii": {}, "licences": {"MIT": {"documents": 100}}}
    facts = replace(
        FACTS,
        parameters=7_000_000_000,
        data=[DataUsed("corpus@1", DIGEST, clean, epochs=1.0)],
        metrics={**FACTS.metrics, "trained_tokens": 10**12},
    )
    text = read(facts).text
    for words in ("small model", "for each parameter", "times over", "kept", "not known"):
        assert words not in text


def test_what_was_not_measured_is_no_result() -> None:
    card = read(replace(FACTS, metrics={"steps": 60}))
    assert card.data.eval_results is None
    assert "Nothing was held out" in card.text
    two = read(replace(FACTS, data=[*FACTS.data, DataUsed("more@1", DIGEST)]))
    assert two.data.eval_results is None, "a figure over two datasets is that of neither"


def test_equal_facts_give_equal_cards_and_speeds_are_left_out() -> None:
    fast = replace(FACTS, metrics={**FACTS.metrics, "tokens_per_second": 1e6, "train_seconds": 3.0, "mfu": 0.5})
    assert model_card(fast) == model_card(FACTS)


@pytest.mark.parametrize("foreign", ["<script>alert(1)</script>", "x\n# Title", "a|b", "[l](http://e.org)"])
def test_foreign_names_are_inert(foreign: str) -> None:
    facts = replace(
        FACTS,
        name=foreign,
        verdict=foreign,
        command=foreign,
        data=[DataUsed(foreign, DIGEST)],
        inputs=[("data", foreign, DIGEST)],
    )
    html = MarkdownIt("commonmark").enable("table").render(read(facts).text)
    assert "<script>" not in html
    assert 'href="http://e.org"' not in html
    assert html.count("<h1>") == 1


def test_a_name_that_is_no_name_is_not_put_into_a_command() -> None:
    assert "--model NAME" in model_card(replace(FACTS, name="x; rm -rf ~"))


SCORES = {
    "exact_match": {
        **{"before": 0.1, "after": 0.42, "ci": [0.4, 0.45], "difference": 0.32},
        **{"difference_ci": [0.29, 0.35], "n": 900},
    }
}


@pytest.mark.parametrize("task", sorted(BY_TASK))
@pytest.mark.parametrize("kind", ["model", "adapter"])
def test_a_tuned_model_is_shown_as_what_it_was_tuned_for(task: str, kind: Any) -> None:
    """The pipelines and their classes are those of transformers, where it has the pipeline."""
    from transformers.pipelines import SUPPORTED_TASKS

    metrics = {**FACTS.metrics, "exact_match": 0.42, "train_loss": 3.5}
    facts = replace(FACTS, objective="masked", kind=kind, task={"task": task}, metrics=metrics, scores=SCORES)
    card = read(facts)
    use = BY_TASK[task]
    assert card.data.pipeline_tag == use.pipeline != "fill-mask"
    assert {result.task_type for result in card.data.eval_results} == {use.pipeline}
    assert {result.metric_type: result.metric_value for result in card.data.eval_results}["exact_match"] == 0.42
    loader = getattr(transformers, use.loader)
    if use.pipeline in SUPPORTED_TASKS:
        assert loader in SUPPORTED_TASKS[use.pipeline]["pt"]
    assert "| exact match | 0.1 | 0.42 (0.4 to 0.45) | +0.32 (+0.29 to +0.35) | 900 |" in card.text
    assert "MaskedLM" not in card.text
    assert use.loss in card.text


def test_preferences_leave_a_writer_and_a_task_that_nobody_knows_is_passed_over() -> None:
    assert read(replace(FACTS, task={"task": "chat", "tuned": "dpo"})).data.pipeline_tag == "text-generation"
    assert read(replace(FACTS, objective="masked", task={"task": "new"})).data.pipeline_tag == "fill-mask"
