from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llmkit.errors import ConfigError
from llmkit.train.batches import Windows
from llmkit.train.objectives import MissingSpans, Vocabulary
from llmkit.train.samples import IGNORE, Sample, random_source

SENTINELS = tuple(range(900, 1000))
EOS, START = 1000, 1001


def spans(length):
    return MissingSpans(length, sentinels=SENTINELS, eos=EOS, start=START)


@given(length=st.integers(8, 600), seed=st.integers(0, 99))
def test_the_spans_put_back_at_their_sentinels_are_the_original_tokens(length, seed):
    objective = spans(length)
    tokens = np.arange(objective.reads) % 900
    row = objective.row(tokens, random_source(seed))
    shown, answer = row.inputs["input_ids"].tolist(), row.labels.tolist()
    assert shown[-1] == answer[-1] == EOS
    pieces, current = {}, None
    for token in answer[:-1]:
        if token >= 900:
            current = pieces.setdefault(token, [])
        else:
            current.append(token)
    restored = [token for id_ in shown[:-1] for token in (pieces[id_] if id_ >= 900 else [id_])]
    assert restored == tokens.tolist()
    assert [id_ for id_ in shown if 900 <= id_ < 1000] == list(SENTINELS[: len(pieces)])
    assert all(pieces.values())


@given(length=st.integers(8, 600))
def test_rows_of_missing_spans_have_the_asked_length_and_the_density_of_the_paper(length):
    objective = spans(length)
    row = objective.row(np.zeros(objective.reads, dtype=np.int64), random_source(1))
    assert length - 1 <= len(row.inputs["input_ids"]) <= length
    assert row.inputs["decoder_input_ids"].tolist() == [START, *row.labels[:-1]]
    noise = len([label for label in row.labels if label < 900])
    assert noise == pytest.approx(0.15 * objective.reads, abs=0.51)


def test_a_length_of_512_reads_the_568_tokens_of_t5():
    """T5's own preprocessing (random_spans_helper) arrives at 568 tokens in and 114 out for 512."""
    objective = spans(512)
    assert objective.reads == 568
    assert len(objective.row(np.zeros(568, dtype=np.int64), random_source(1)).labels) == 114


def test_too_few_sentinels_are_said_at_once():
    with pytest.raises(ConfigError, match="needs 28 sentinel tokens, and the tokenizer has 3"):
        MissingSpans(512, sentinels=(1, 2, 3), eos=EOS, start=START)
    with pytest.raises(ConfigError, match="too short"):
        spans(4)


@pytest.fixture(scope="module")
def masked(tokens, objective_for):
    objective = objective_for("masked", 128)
    windows = Windows(tokens, objective, seed=2)
    return objective, windows.batch([Sample(0, number) for number in windows.order(0)], len(windows))


def test_words_are_masked_whole_at_the_rates_of_the_paper(masked):
    objective, batch = masked
    shown, labels = batch.inputs["input_ids"].numpy(), batch.labels.numpy()
    chosen = labels != IGNORE
    assert chosen.mean() == pytest.approx(0.15, abs=0.02)
    fate = shown[chosen]
    assert (fate == objective.mask).mean() == pytest.approx(0.8, abs=0.02)
    assert (fate == labels[chosen]).mean() == pytest.approx(0.1, abs=0.02)
    original = np.where(chosen, labels, shown)
    for row in range(len(shown)):
        words = np.cumsum(objective.vocabulary.starts_word(original[row])) - 1
        for word in np.unique(words[chosen[row]]):
            assert chosen[row][words == word].all()


def test_special_tokens_are_never_predicted_and_frame_every_row(masked, ids):
    objective, batch = masked
    labels = batch.labels.numpy()
    assert not objective.vocabulary.special[labels[labels != IGNORE]].any()
    assert (batch.inputs["input_ids"][:, 0] == ids.cls).all()
    assert (batch.inputs["input_ids"][:, -1] == ids.sep).all()
    assert (batch.labels != IGNORE).any(dim=1).all()


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 400))
def test_masked_validation_reads_a_short_last_window(objective_for, tokens, length):
    windows = Windows(tokens[:length], objective_for("masked", 32), seed=2, shuffle=False)
    batch = windows.batch([Sample(0, number) for number in range(len(windows))], len(windows))
    assert int(batch.inputs["attention_mask"].sum()) == length + 2 * len(windows)


def test_a_mask_is_another_one_in_another_epoch_and_the_same_in_the_same(objective_for, tokens):
    windows = Windows(tokens[:31], objective_for("masked", 32), seed=2)
    first, again, other = (windows.batch([Sample(epoch, 0)], 1).labels for epoch in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def words(tokenizer, text):
    ids = np.array(tokenizer.encode(text, add_special_tokens=False))
    pieces = np.split(ids, np.flatnonzero(Vocabulary.of(tokenizer).starts_word(ids))[1:])
    return [tokenizer.decode(piece) for piece in pieces]


def test_words_of_byte_level_tokens_are_those_a_reader_sees(tokenizer):
    assert words(tokenizer, "def parse_args of argparse and self") == [
        "def", " parse_args", " of", " argparse", " and", " self",
    ]  # fmt: skip


def test_a_character_of_several_tokens_is_not_torn(tokenizer):
    assert words(tokenizer, "é") == ["é"]


def test_words_of_wordpiece_tokens_join_what_is_marked_as_continuing():
    vocabulary = {"[UNK]": 0, "un": 1, "##believ": 2, "##able": 3, "story": 4, ".": 5}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]")
    ids = np.array(tokenizer.encode("unbelievable story."))
    assert ids.tolist() == [1, 2, 3, 4, 5]
    assert Vocabulary.of(tokenizer).starts_word(ids).tolist() == [True, False, False, True, True]
