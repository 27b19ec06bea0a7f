from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reading import byte_tokenizer, tiny_config, toy_questions, toy_tokenizer
from support.resuming import check_resumes
from torch.nn import functional
from transformers import BertForQuestionAnswering

from llmkit.config.sections import TrainOptions
from llmkit.errors import DataError
from llmkit.models.reading import Reader
from llmkit.train.loop import train
from llmkit.train.samples import IGNORE, Sample
from llmkit.train.spans import Question, Spans, features, span_loss

BERT, BYTES = toy_tokenizer(), byte_tokenizer()
WORDS = st.lists(st.sampled_from(["red", "sea lion", "1990s", "(New", "York)", "一日", "\n", "owl."]), min_size=1)
CONTEXT = WORDS.map(" ".join).filter(str.strip)


def question(row):
    asked, context, answers, _ = row
    return Question(asked, context, [(start, start + len(text)) for text, start in answers])


def windows(found):
    return [window for asked in found.examples for window in asked.windows]


def questions(count, seed=0):
    return [question(row) for row in toy_questions(count, seed)]


@settings(deadline=None)
@given(context=CONTEXT, limit=st.integers(12, 50), data=st.data())
@pytest.mark.parametrize("tokenizer", [BERT, BYTES], ids=["bert", "bytes"])
def test_what_a_feature_marks_is_the_least_that_holds_the_answer(tokenizer, context, limit, data):
    start = data.draw(st.integers(0, len(context) - 1).filter(lambda at: not context[at].isspace()))
    end = data.draw(st.integers(start + 1, len(context)).filter(lambda at: not context[at - 1].isspace()))
    asked = Question("Of?", context, [(start, end)])
    found = features([asked], tokenizer, limit=limit, policy="truncate")
    offsets = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    touched = [number for number, (a, b) in enumerate(offsets) if b > start and a < end]
    for feature in windows(found):
        window = feature.window
        held = range(window.begin, window.begin + window.count)
        if touched[0] not in held or touched[-1] not in held:
            assert feature.answers == ((window.none, window.none),)
            continue
        ((first, last),) = feature.answers
        marked = context[
            offsets[window.begin + first - window.first][0] : offsets[window.begin + last - window.first][1]
        ]
        assert context[start:end] in marked
        if offsets[touched[0]][0] >= start and offsets[touched[-1]][1] <= end:
            assert marked.strip() == context[start:end]


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_an_answer_between_words_is_marked_to_the_letter(seed):
    ((asked, context, answers, _),) = toy_questions(1, seed)
    (feature,) = windows(features([question((asked, context, answers, ""))], BERT, limit=64, policy="error"))
    offsets = BERT(asked, context, return_offsets_mapping=True)["offset_mapping"]
    marked = {context[offsets[first][0] : offsets[last][1]] for first, last in feature.answers}
    assert marked == ({text for text, _ in answers} or {""})


def test_an_answer_that_a_window_cuts_is_learned_from_another():
    context = " ".join(["one"] * 20 + ["New York"] + ["far"] * 20)
    start = context.index("New")
    asked = Question("Which city?", context, [(start, start + 8)])
    found = windows(features([asked], BERT, limit=18, policy="error"))
    answered = [feature for feature in found if feature.answers != ((0, 0),)]
    assert 0 < len(answered) < len(found)


def test_a_question_of_more_than_half_a_window_is_refused_dropped_or_cut():
    long = Question("far " * 30, "the red fox", [(4, 7)], where="a.json:data[0]")
    fine = Question("Which colour?", "the red fox", [(4, 7)])
    with pytest.raises(DataError, match="a question of 30 tokens is longer than the limit of 16") as caught:
        features([fine, long], BERT, limit=32, policy="error")
    assert caught.value.where == "a.json:data[0]"
    dropped = features([long, fine], BERT, limit=32, policy="drop")
    assert ([asked.item for asked in dropped.examples], dropped.dropped, len(windows(dropped))) == ([1], 1, 1)
    cut = features([long, fine], BERT, limit=32, policy="truncate")
    assert ([asked.item for asked in cut.examples], cut.truncated) == ([0, 1], 1)
    context = len(BERT("the red fox", add_special_tokens=False)["input_ids"])
    assert len(windows(cut)[0]) == 1 + 16 + 1 + context + 1


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = BertForQuestionAnswering(tiny_config(BERT)).eval()
    torch.nn.init.normal_(made.qa_outputs.weight, std=1.0)
    return made


def samples(items, **given_):
    found = windows(features(items, BERT, limit=64, policy="error"))
    return Spans(found, batch_size=4, seed=0, filler=BERT.pad_token_id, shuffle=False, **given_)


def test_the_loss_is_that_of_the_definition_for_each_window(model):
    rows = toy_questions(9)
    source = samples([question(row) for row in rows])
    for number, (asked, context, answers, _) in enumerate(rows):
        encoded = BERT(asked, context, return_tensors="pt")
        length = encoded["input_ids"].shape[1]
        made = model(**encoded)
        texts = encoded.sequence_ids(0)
        allowed = [at for at in range(length) if at == 0 or texts[at] == 1]
        first = last = 0
        for text, start in answers:
            first = encoded.char_to_token(0, start, 1)
            last = encoded.char_to_token(0, start + len(text) - 1, 1)
        expected = sum(
            functional.cross_entropy(logits[0, allowed][None], torch.tensor([allowed.index(at)]))
            for logits, at in ((made.start_logits, first), (made.end_logits, last))
        )
        total, weight = span_loss(model, source.batch([Sample(0, number)], 1))
        assert int(weight) == 1
        torch.testing.assert_close(total, expected)


def test_neighbours_and_empty_rows_change_no_loss(model):
    source = samples(questions(6))
    alone = [span_loss(model, source.batch([Sample(0, number)], 1)) for number in range(6)]
    together, weight = span_loss(model, source.batch([Sample(0, number) for number in range(6)], 9))
    assert int(weight) == 6
    torch.testing.assert_close(together, torch.stack([each for each, _ in alone]).sum())
    nothing, none = span_loss(model, source.batch([], 2))
    assert (nothing.item(), int(none)) == (0.0, 0)
    nothing.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_several_answers_count_as_many_people_gave_them(model):
    context = "the red fox and the blue owl"
    red, blue = (4, 7), (20, 24)
    loss = {
        name: span_loss(model, samples([Question("Which colour?", context, answers)]).batch([Sample(0, 0)], 1))[0]
        for name, answers in {"red": [red], "blue": [blue], "both": [red, red, blue]}.items()
    }
    torch.testing.assert_close(loss["both"], (2 * loss["red"] + loss["blue"]) / 3)


def test_a_batch_says_what_a_reader_may_mark():
    source = samples(questions(4))
    batch = source.batch([Sample(0, 0), Sample(0, 1)], 3)
    assert batch.labels[2].eq(IGNORE).all()
    assert batch.inputs["attention_mask"].sum(1).tolist()[2] == 1
    assert batch.positions == batch.inputs["input_ids"].numel()
    first, last = batch.labels[0, :2].tolist()
    assert batch.inputs["token_type_ids"][0, first : last + 1].eq(1).all()


def test_a_tiny_encoder_learns_to_read_and_to_refuse():
    torch.manual_seed(0)
    model = BertForQuestionAnswering(tiny_config(BERT))
    items = questions(500)
    found = windows(features(items, BERT, limit=64, policy="error"))
    source = Spans(found, batch_size=16, seed=0, filler=0)
    options = TrainOptions(
        steps=450, batch_size=16, lr=3e-3, beta2=0.999, precision="fp32", compile="off", eval_every=0, device="cpu"
    )
    for _ in train(model, source, options, loss=span_loss):
        pass
    fresh = toy_questions(80, seed=1)
    readings = Reader(model, BERT, limit=64).read([(asked, context) for asked, context, _, _ in fresh])
    said = [span.text if (span := reading.answer()) else "" for reading in readings]
    gold = [answers[0][0] if answers else "" for _, _, answers, _ in fresh]
    assert np.mean([ours == right for ours, right in zip(said, gold, strict=True)]) > 0.9
    assert set(itertools.chain.from_iterable([[""], said])) > {""}


def test_an_interrupted_run_ends_with_the_same_weights_to_the_bit(tmp_path):
    found = windows(features(questions(60), BERT, limit=64, policy="error"))
    source = Spans(found, batch_size=8, seed=0, filler=0)
    options = TrainOptions(steps=12, batch_size=8, precision="fp32", compile="off", eval_every=5, device="cpu")

    def made():
        torch.manual_seed(0)
        return BertForQuestionAnswering(tiny_config(BERT))

    check_resumes(
        made,
        lambda model, folder: train(model, source, options, loss=span_loss, validation=source, directory=folder),
        tmp_path,
        until=7,
    )
