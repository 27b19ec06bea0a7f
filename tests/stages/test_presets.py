"""Tasks on texts: where the text comes from, what each needs, and texts that are longer than a model reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import PresetOptions
from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.generation.sampling import Sampling
from llmkit.registry.store import Registry
from llmkit.reporting.reporter import Silent
from llmkit.stages.presets import Hand, check_needs, find_text, material_of, perform, pieces
from llmkit.stages.writing import nobody

from .test_writing import Model


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def done(task: str, text: str, model: Any = None, classify: Any = None, to: str | None = None) -> dict[str, Any]:
    from llmkit.stages.presets import Material

    hand = Hand(model, Sampling(max_tokens=20), nobody, Silent(), classify)
    return perform(PresetOptions(task=task, to=to), Material(text, "text"), hand)


def test_the_text_is_the_argument_a_file_or_standard_input(tmp_path, registry, monkeypatch) -> None:
    file = tmp_path / "a.md"
    file.write_text("From a file.")
    monkeypatch.setattr("sys.stdin", io.StringIO("From a pipe."))
    for options, question, text, wish in [
        (PresetOptions(task="write"), "From here.", "From here.", ""),
        (PresetOptions(task="write", file=str(file)), "Be brief.", "From a file.", "Be brief."),
        (PresetOptions(task="write"), "-", "From a pipe.", ""),
    ]:
        found = material_of(find_text(options, question, registry), question)
        assert (found.text, found.wish if found.document or question == "-" else "") == (text, wish)


@pytest.mark.parametrize(
    ("options", "question", "error", "said"),
    [
        ({"file": "a.md"}, None, UsageError, "belongs to a --task"),
        ({"to": "ja"}, "x", UsageError, "belongs to a --task"),
        ({"task": "translate"}, "x", UsageError, "which language"),
        ({"task": "write", "to": "ja"}, "x", UsageError, "--task translate takes"),
        ({"task": "summarize"}, None, UsageError, "needs a text"),
        ({"task": "summarize", "file": "none.md"}, None, NotFoundError, "no such file"),
    ],
)
def test_what_cannot_be_meant_is_refused(registry, options, question, error, said) -> None:
    with pytest.raises(error, match=said) as caught:
        find_text(PresetOptions(**options), question, registry)
    assert caught.value.mend


@pytest.mark.parametrize("task", ["translate", "sentiment", "write", "complete", "code"])
def test_what_needs_a_model_says_so(task: str) -> None:
    with pytest.raises(UsageError, match="needs a model") as caught:
        check_needs(PresetOptions(task=task), model=None)
    assert "--model" in str(caught.value.mend)
    check_needs(PresetOptions(task=task), model="m")
    check_needs(PresetOptions(task="summarize"), model=None)


def test_a_file_without_text_says_why(tmp_path, registry) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(DataError, match="cannot be read"):
        material_of(find_text(PresetOptions(task="summarize", file=str(file)), None, registry), None)


def test_without_a_model_a_summary_is_sentences_of_the_file_at_their_places(tmp_path, registry) -> None:
    file = tmp_path / "a.md"
    said = "The bridge is closed in May. Buses use a tunnel while the bridge is closed. The bridge has trams from June."
    file.write_text(f"# Bridge\n\nIt rains.\n\n{said} A dog barks.\n")
    options = PresetOptions(task="summarize", file=str(file))
    material = material_of(find_text(options, None, registry), None)
    payload = perform(options, material, Hand(None, Sampling(), nobody, Silent()))
    assert payload["answer"] == said and len(payload["citations"]) == 3
    for quote in payload["citations"]:
        assert file.read_text()[quote["start"] : quote["end"]] == quote["quote"] and quote["line"] == 5
    with pytest.raises(DataError, match="no sentences"):
        done("summarize", "1, 2, 3")


@pytest.mark.parametrize("task", ["translate", "write", "code"])
def test_a_model_is_asked_once_for_what_fits(task: str) -> None:
    model = Model("Done.", context=4000)
    payload = done(task, "Some text.", model, to="ja" if task == "translate" else None)
    ((system, user),) = model.prompts
    assert (payload["answer"], payload["task"]) == ("Done.", task) and "Some text." in user["content"]
    assert system["role"] == "system"


def test_completing_hands_the_text_over_as_it_stands() -> None:
    model = Model(" there was", context=4000)
    assert done("complete", "Once upon a time", model)["answer"] == " there was"
    assert model.prompts == ["Once upon a time"]


LONG = " ".join(f"Sentence {n} has six words here." for n in range(100))


def test_a_long_text_is_translated_in_parts_that_are_put_together() -> None:
    model = Model("Part.", context=200)
    payload = done("translate", LONG, model, to="ja")
    seen = "".join(prompt[1]["content"] for prompt in model.prompts)
    assert all(f"Sentence {n} " in seen for n in range(100))
    assert payload["answer"].split("\n\n") == ["Part."] * len(model.prompts)
    assert payload["notes"] == [f"done in {len(model.prompts)} parts: the model reads 200 tokens"]


def test_a_long_text_is_summed_up_in_parts_and_these_again() -> None:
    model = Model("It is so.", context=200)
    payload = done("summarize", LONG, model)
    assert payload["answer"] == "It is so." and "It is so." in model.prompts[-1][1]["content"]
    assert all(model.prompt_tokens(prompt) <= 180 for prompt in model.prompts)
    assert payload["notes"] == [f"done in {len(model.prompts) - 1} parts: the model reads 200 tokens"]


def test_summaries_that_do_not_get_shorter_end_all_the_same() -> None:
    model = Model("It is so. " * 60, context=200)
    assert "It is so." in done("summarize", LONG, model)["answer"]
    assert len(model.prompts) < 40


def test_ctrl_c_between_parts_keeps_what_was_said() -> None:
    payload = done("translate", LONG, Model("One.", KeyboardInterrupt(), context=200), to="ja")
    assert payload["interrupted"] and payload["answer"] == "One."


def test_sentiment_is_a_classifiers_label_or_a_models_word() -> None:
    by_classifier = done("sentiment", "Good.", classify=lambda text: {"good": 0.9, "bad": 0.1})
    assert (by_classifier["label"], by_classifier["answer"]) == ("good", "good (90%)")
    assert by_classifier["scores"] == {"good": 0.9, "bad": 0.1}
    assert done("sentiment", "Good.", Model("Positive.", context=4000))["label"] == "positive"
    unclear = done("sentiment", "Good.", Model("Perhaps.", context=4000))
    assert unclear["label"] is None and "names none of" in unclear["notes"][0]
    long = done("sentiment", LONG, Model("neutral", context=200))
    assert long["label"] == "neutral" and "of the text was read" in long["notes"][0]


@given(st.text(max_size=200), st.integers(1, 30))
def test_pieces_are_the_text_in_order_and_each_fits(text: str, most: int) -> None:
    found = list(pieces(text, lambda piece: len(piece) <= most))
    assert "".join(found) == text[: len("".join(found))] and not text[len("".join(found)) :].strip()
    assert all(0 < len(piece) <= most for piece in found)
