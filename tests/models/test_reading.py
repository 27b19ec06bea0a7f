from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reading import bert_tokenizer, byte_tokenizer, tiny_config, toy_tokenizer
from transformers import BertForQuestionAnswering

from llmkit.errors import DataError
from llmkit.models.reading import LONGEST_ANSWER, Reader, Reading, Span, encode

TOKENIZERS = {"bert": toy_tokenizer(), "bytes": byte_tokenizer()}
WORDS = st.lists(st.sampled_from(["red", "sea", "lion", "1990s", "(New", "York)", "一日", "\n", "owl."]), min_size=1)
TEXT = WORDS.map(" ".join).filter(str.strip)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = BertForQuestionAnswering(tiny_config(TOKENIZERS["bert"], positions=64))
    torch.nn.init.normal_(made.qa_outputs.weight, std=2.0)
    return made.eval()


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(context=TEXT, question=TEXT, limit=st.integers(12, 64))
def test_windows_hold_every_token_of_the_context_and_the_question_in_each(name, context, question, limit):
    tokenizer = TOKENIZERS[name]
    (passage,) = encode([(question, context)], tokenizer, limit)
    whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    assert passage.offsets.tolist() == [list(each) for each in whole["offset_mapping"]]
    seen = {}
    for window in passage.windows:
        assert len(window) <= limit
        assert np.array_equal(window.ids[: window.first], passage.windows[0].ids[: passage.windows[0].first])
        for at in range(window.count):
            assert window.ids[window.first + at] == whole["input_ids"][window.begin + at]
            seen.setdefault(window.begin + at, 0)
    assert sorted(seen) == list(range(len(whole["input_ids"])))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_context_that_fits_is_read_as_the_tokenizer_writes_a_pair(name):
    tokenizer = TOKENIZERS[name]
    question, context = "Which colour?", "one dark green day."
    (passage,) = encode([(question, context)], tokenizer, 64)
    separated = question if tokenizer.sep_token_id is not None else f"{question}\n"
    expected = tokenizer(separated, context)
    (window,) = passage.windows
    assert window.ids.tolist() == expected["input_ids"]
    assert window.types is None or window.types.tolist() == expected["token_type_ids"]
    assert window.none == 0


def test_windows_begin_a_third_of_the_limit_after_each_other():
    (passage,) = encode([("Which?", "red " * 100)], TOKENIZERS["bert"], 60)
    assert [window.begin for window in passage.windows[:3]] == [0, 20, 40]


def test_a_long_question_is_cut_to_half_a_window():
    (passage,) = encode([("red " * 50, "blue fox")], TOKENIZERS["bert"], 20)
    assert passage.asked == 50
    assert passage.windows[0].first == 1 + 10 + 1


def test_a_window_without_room_is_refused():
    with pytest.raises(DataError, match="no room"):
        encode([("red red red red", "blue")], TOKENIZERS["bert"], 5)


def brute_force(model, tokenizer, question, context, limit):
    """Every span of every window by the definition, the best one first: (score, start, end)."""
    found = []
    for window in encode([(question, context)], tokenizer, limit)[0].windows:
        inputs = {"input_ids": torch.tensor([window.ids.tolist()])}
        if window.types is not None:
            inputs["token_type_ids"] = torch.tensor([window.types.tolist()])
        with torch.no_grad():
            made = model(**inputs)
        starts, ends = made.start_logits[0], made.end_logits[0]
        offsets = encode([(question, context)], tokenizer, limit)[0].offsets
        none = float(starts[0] + ends[0])
        for first in range(window.count):
            for last in range(first, min(first + LONGEST_ANSWER, window.count)):
                score = float(starts[window.first + first] + ends[window.first + last]) - none
                found.append((score, int(offsets[window.begin + first][0]), int(offsets[window.begin + last][1])))
    return sorted(found, reverse=True)


@settings(max_examples=15, deadline=None)
@given(
    pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4).filter(
        lambda all_: all(len(q) < 40 for q, _ in all_)
    ),
    limit=st.integers(24, 64),
)
def test_the_best_spans_are_those_of_a_search_over_everything(model, pairs, limit):
    tokenizer = TOKENIZERS["bert"]
    for (question, context), reading in zip(
        pairs, Reader(model, tokenizer, limit=limit).read(pairs, best=3), strict=True
    ):
        expected = brute_force(model, tokenizer, question, context, limit)
        assert reading.spans[0].score == pytest.approx(expected[0][0], abs=1e-4)
        assert [span.score for span in reading.spans] == sorted((span.score for span in reading.spans), reverse=True)
        for span in reading.spans:
            assert context[span.start : span.end] == span.text == span.text.strip() != ""
        assert len({(span.start, span.end) for span in reading.spans}) == len(reading.spans)


def test_an_answer_may_begin_and_end_within_a_text_without_spaces():
    tokenizer = bert_tokenizer(["東京は日本の首都である。"])
    torch.manual_seed(1)
    made = BertForQuestionAnswering(tiny_config(tokenizer))
    span = Reader(made, tokenizer, limit=64, threshold=None).answer("首都は?", "東京は日本の首都である。")
    assert span.text == "東京は日本の首都である。"[span.start : span.end]


def test_space_that_a_token_holds_is_no_part_of_an_answer():
    tokenizer = byte_tokenizer()
    torch.manual_seed(2)
    made = BertForQuestionAnswering(tiny_config_for_bytes(tokenizer))
    for span in Reader(made, tokenizer, limit=60).read([("Which?", " red \n fox ")], best=20)[0].spans:
        assert re.fullmatch(r"\S(.*\S)?", span.text, re.DOTALL)
        assert " red \n fox "[span.start : span.end] == span.text


def tiny_config_for_bytes(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    return tiny_config(tokenizer)


def test_no_answer_is_given_where_it_is_ahead_by_more_than_the_threshold():
    reading = Reading((Span("red", 0, 3, -1.5), Span("fox", 4, 7, -2.0)))
    assert reading.no_answer == 1.5
    assert reading.answer(1.4) is None
    assert reading.answer(1.5) == reading.answer(None) == reading.spans[0]
    assert Reading(()).answer(None) is None


def test_a_model_is_left_in_the_mode_it_was_in(model):
    model.train()
    Reader(model, TOKENIZERS["bert"], limit=32).answer("Which?", "red fox")
    assert model.training
    model.eval()
