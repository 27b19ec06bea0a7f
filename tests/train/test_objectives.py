from __future__ import annotations

import itertools
import json
import math
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

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


ENGLISH = "The unbelievable stories of 1923, re-told: don't stop; call parse_args(x1) or naïve_café twice!"
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見當がつかぬ。ChatGPTは2022年に公開。"
OTHERS = "Привет, мир! हिन्दी में लिखा हुआ Ελληνικά κείμενα 한국어 문장입니다 😀 «да» 12 € – нет"
UNSURE = "लिखा हुआ। ภาษาไทย"


def words(tokenizer, text):
    ids = np.array(tokenizer.encode(text, add_special_tokens=False))
    pieces = np.split(ids, np.flatnonzero(Vocabulary.of(tokenizer).starts_word(ids))[1:])
    return [tokenizer.decode(piece) for piece in pieces]


def within_words(text, spans):
    """For each token, by its characters (begin, end), whether a word of the text goes on in it."""

    def inside(character):
        return (character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M") and not re.match(
            "[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]", character
        )

    found = [False]
    for (_, before), (begin, _) in itertools.pairwise(spans):
        torn = begin < before
        found.append(torn or (begin > 0 and inside(text[begin]) and inside(text[begin - 1])))
    return found


def trained(model, trainer, pre, normalizer=None):
    core = Tokenizer(model)
    core.pre_tokenizer = pre
    if normalizer:
        core.normalizer = normalizer
    core.train_from_iterator([ENGLISH, JAPANESE, OTHERS, UNSURE] * 3, trainer)
    return core


def byte_level(vocabulary):
    core = trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core)


def sentencepiece():
    """As Llama's: pieces marked where a word begins, and bytes for what the vocabulary lacks."""
    core = trained(
        models.BPE(byte_fallback=True, unk_token="<unk>"),
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=["<unk>"], limit_alphabet=60, min_frequency=2, show_progress=False
        ),
        pre_tokenizers.Metaspace(),
    )
    known = json.loads(core.to_str())
    for byte in range(256):
        known["model"]["vocab"].setdefault(f"<0x{byte:02X}>", len(known["model"]["vocab"]))
    core = Tokenizer.from_str(json.dumps(known))
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


@pytest.mark.parametrize("text", [ENGLISH, JAPANESE, OTHERS, f"{JAPANESE} {ENGLISH} {OTHERS}"])
@pytest.mark.parametrize("vocabulary", [260, 300, 600])
def test_words_of_byte_level_tokens_are_those_of_the_text(vocabulary, text):
    """With 260 tokens nearly every character that is not ASCII is torn into its bytes."""
    check_words(byte_level(vocabulary), text)


def test_where_characters_are_whole_no_script_is_guessed():
    """A first byte alone does not tell Thai, which has no spaces, from Hindi, nor a letter of it from its full stop."""
    check_words(byte_level(900), UNSURE)


def check_words(tokenizer, text):
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts = Vocabulary.of(tokenizer).starts_word(np.array(encoded["input_ids"]))
    expected = within_words(text, encoded["offset_mapping"])
    assert starts.tolist() == [not inside for inside in expected]


def test_words_of_sentencepiece_tokens_are_those_of_the_text():
    tokenizer = sentencepiece()
    text = f"{ENGLISH} {JAPANESE}"
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = np.array(encoded["input_ids"])
    assert any(token.startswith("<0x") for token in tokenizer.convert_ids_to_tokens(ids))
    expected = within_words(text, encoded["offset_mapping"])
    assert Vocabulary.of(tokenizer).starts_word(ids).tolist() == [not inside for inside in expected]


def wordpiece():
    core = trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(
            vocab_size=220, special_tokens=["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
        ),
        pre_tokenizers.BertPreTokenizer(),
        normalizers.BertNormalizer(lowercase=True),
    )
    core.decoder = decoders.WordPiece()
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, mask_token="[MASK]", **named)


@pytest.mark.parametrize("text", [ENGLISH, JAPANESE, OTHERS])
def test_words_of_wordpiece_tokens_are_those_of_the_tokenizer_itself(text):
    tokenizer = wordpiece()
    encoded = tokenizer(text, add_special_tokens=False)
    number = encoded.word_ids()
    starts = Vocabulary.of(tokenizer).starts_word(np.array(encoded["input_ids"]))
    assert starts.tolist() == [True] + [a != b for a, b in itertools.pairwise(number)]


def test_words_are_those_that_transformers_masks_whole():
    """Its collator groups the tokens of BERT by `##`; here it masks every word, and so shows what it takes for one."""
    tokenizer = wordpiece()
    ids = tokenizer(ENGLISH)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    starts = Vocabulary.of(tokenizer).starts_word(np.array(ids))
    grouped = []
    for at, token in enumerate(tokens):
        if token.startswith("##") and grouped:
            grouped[-1].append(at)
        else:
            grouped.append([at])
    assert [group.tolist() for group in np.split(np.arange(len(ids)), np.flatnonzero(starts)[1:])] == grouped
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5, whole_word_mask=True, seed=3)
    offsets = tokenizer(ENGLISH, return_offsets_mapping=True)["offset_mapping"]
    for _ in range(20):
        labels = collator([{"input_ids": ids, "offset_mapping": offsets}])["labels"][0].numpy()
        for group in np.split(labels != -100, np.flatnonzero(starts)[1:]):
            assert group.all() or not group.any()


def test_words_of_byte_level_tokens_are_those_a_reader_sees(tokenizer):
    assert words(tokenizer, "def parse_args of argparse and self") == [
        "def", " parse_args", " of", " argparse", " and", " self",
    ]  # fmt: skip


def test_a_character_of_several_tokens_is_not_torn(tokenizer):
    assert words(tokenizer, "é") == ["é"]
    assert "".join(words(tokenizer, JAPANESE)) == JAPANESE
    assert all("\ufffd" not in word for word in words(tokenizer, JAPANESE))


@pytest.fixture(scope="module")
def counted(tokens, objective_for):
    """Ten epochs of masked rows: (words, words chosen, fates of the tokens chosen), each row looked at."""
    objective = objective_for("masked", 128)
    windows = Windows(tokens, objective, seed=5)
    seen = chosen = 0
    fates = []
    for epoch in range(10):
        batch = windows.batch([Sample(epoch, number) for number in windows.order(epoch)], len(windows))
        shown, labels = batch.inputs["input_ids"].numpy(), batch.labels.numpy()
        original = np.where(labels != IGNORE, labels, shown)
        for read, row, predicted in zip(shown, original, labels != IGNORE, strict=True):
            starts = objective.vocabulary.starts_word(row)
            real = ~objective.vocabulary.special[row] & starts
            seen += real.sum()
            chosen += (predicted & real).sum()
            fates += [
                "mask" if token == objective.mask else "kept" if token == was else "random"
                for token, was in zip(read[predicted], row[predicted], strict=True)
            ]
    return int(seen), int(chosen), fates


def deviations(count, total, share):
    """How many standard deviations of a binomial count from its mean."""
    return abs(count - total * share) / math.sqrt(total * share * (1 - share))


def test_fifteen_in_a_hundred_words_are_chosen(counted):
    seen, chosen, _ = counted
    assert seen > 10_000
    assert deviations(chosen, seen, 0.15) < 4


def test_of_the_tokens_chosen_eight_in_ten_are_masked_one_is_random_and_one_is_kept(counted, tokenizer):
    fates = counted[2]
    assert len(fates) > 5_000
    assert deviations(fates.count("mask"), len(fates), 0.8 + 0.1 / len(tokenizer)) < 4
    assert deviations(fates.count("random"), len(fates), 0.1 * (1 - 2 / len(tokenizer))) < 4
    assert deviations(fates.count("kept"), len(fates), 0.1 + 0.1 / len(tokenizer)) < 4


PAPER = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last"]


def test_the_example_of_the_t5_paper_comes_out_as_it_is_printed():
    """Figure 2, up to its last span: the spans of T5's own code end with what is cut out."""
    objective = MissingSpans(16, sentinels=tuple(range(100, 110)), eos=200, start=201, density=1 / 3, mean_span=1.5)
    made = set()
    for seed in range(300):
        row = objective.row(np.arange(len(PAPER)), random_source(seed))
        read, answer = (
            " ".join({100: "<X>", 101: "<Y>", 200: "</s>"}.get(id_) or PAPER[id_] for id_ in part.tolist())
            for part in (row.inputs["input_ids"], row.labels)
        )
        made.add((read, answer))
    assert ("Thank you <X> me to your party <Y> </s>", "<X> for inviting <Y> last </s>") in made


def test_spans_are_three_tokens_on_average_and_every_way_to_cut_is_as_likely():
    """Lengths are drawn as in T5's random_spans_noise_mask: all sums of positive parts are equally likely."""
    objective = spans(114)
    noise = round(0.15 * objective.reads)
    parts = round(noise / 3)
    firsts, total = [], 4000
    for seed in range(total):
        answer = objective.row(np.zeros(objective.reads, dtype=np.int64), random_source(seed)).labels
        at = np.flatnonzero(answer >= 900)  # the sentinels, and the end
        assert len(at) == parts + 1
        lengths = np.diff(at) - 1
        assert lengths.sum() == noise
        firsts.append(int(lengths[0]))
    assert noise / parts == pytest.approx(3, abs=0.35)
    for length in (1, 2, 3, 4):
        share = math.comb(noise - length - 1, parts - 2) / math.comb(noise - 1, parts - 1)
        assert deviations(firsts.count(length), total, share) < 4


def corrupted(tokens, noise, sentinels, eos):
    """T5's own way over a mask (noise_span_to_unique_sentinel): each run of the same kind becomes one sentinel."""

    def shown(hidden):
        out, used = [], 0
        for at, token in enumerate(tokens):
            if not hidden[at]:
                out.append(token)
            elif at == 0 or not hidden[at - 1]:
                out.append(sentinels[used])
                used += 1
        return [*out, eos]

    return shown(noise), shown(~noise)


@given(length=st.integers(8, 300), seed=st.integers(0, 50))
def test_inputs_and_answers_are_those_of_t5s_own_way_over_a_mask(length, seed):
    objective = spans(length)
    tokens = np.arange(objective.reads) % 900
    row = objective.row(tokens, random_source(seed))
    hidden, at = np.ones(len(tokens), dtype=bool), 0
    for id_ in row.inputs["input_ids"][:-1].tolist():
        if id_ < 900:
            at = at + int(np.flatnonzero(tokens[at:] == id_)[0])
            hidden[at], at = False, at + 1
    inputs, answer = corrupted(tokens.tolist(), hidden, SENTINELS, EOS)
    assert row.inputs["input_ids"].tolist() == inputs
    assert row.labels.tolist() == answer
