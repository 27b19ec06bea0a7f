"""What a preview says of an example of each task, against what a person reads off the row itself."""

from __future__ import annotations

import json

import pytest
from support.reading import bert_tokenizer, save_encoder
from support.tiny import tiny_model

from llmkit.cli.render import print_blocks
from llmkit.errors import DataError, UsageError
from llmkit.registry.store import Registry
from llmkit.reporting.page import page
from llmkit.stages.preview import PreviewOptions, preview, show
from llmkit.stages.tuning.table import TASKS

TEXT = "the film was good bad and Anna lives in New York what who there red blue say please no"


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A decoder, an encoder of whole words, an encoder with a decoder."""
    folder = tmp_path_factory.mktemp("models")
    found = {name: tiny_model(folder / name, name, [TEXT]) for name in ("llama", "t5")}
    found["bert"] = save_encoder(folder / "bert", bert_tokenizer([TEXT] * 3))
    return found


@pytest.fixture
def look(bases, tmp_path):
    def make(model, rows, **options):
        (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        cfg = PreviewOptions(model=str(bases[model]), data=str(tmp_path / "rows.jsonl"), **options)
        return preview(cfg, Registry(tmp_path / "home"))

    return make


def learned(row):
    return [piece["text"].strip() for piece in row["pieces"] if piece["learned"]]


def text(row):
    return "".join(piece["text"] for piece in row["pieces"])


LABELS = [{"text": "the film was good", "label": "pos"}, {"text": "the film was bad", "label": "neg"}]
PAIRS = [
    {"text": "the film", "text_pair": "was good", "label": "b"},
    {"text": "the film", "text_pair": "was", "label": "a"},
]
VALUES = [{"text": "good", "label": "4"}, {"text": "bad", "label": "2"}]
TAGS = [{"tokens": ["Anna", "lives", "in", "New", "York"], "tags": ["B-PER", "O", "O", "B-LOC", "I-LOC"]}]
QUESTIONS = [
    {
        "question": "who lives",
        "context": "there Anna lives in New York",
        "answers": {"text": ["Anna"], "answer_start": [6]},
    },
    {"question": "what film", "context": "there Anna lives", "answers": {"text": [], "answer_start": []}},
]
PREFERENCES = [{"prompt": "say red", "chosen": "red please", "rejected": "no"}]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": "say red"},
            {"role": "assistant", "content": "red"},
            {"role": "user", "content": "and blue"},
            {"role": "assistant", "content": "blue please"},
        ]
    }
]
PROMPTS = [{"prompt": "say red", "completion": "red please"}]


def test_of_a_classified_text_the_label_is_asked_and_no_token(look):
    first, second = look("bert", LABELS)["samples"]
    assert first["target"] == "label 'pos' (number 1)"
    assert second["target"] == "label 'neg' (number 0)"
    (row,) = first["rows"]
    assert text(row) == "[CLS] the film was good [SEP]"
    assert row["special"] == [{"at": 0, "token": "[CLS]"}, {"at": 5, "token": "[SEP]"}]
    assert (row["trained"], first["length"]) == (0, 6)


def test_a_pair_is_seen_as_the_model_reads_it_and_a_causal_one_at_its_last_token(look):
    encoder, decoder = (look(name, PAIRS)["samples"][0] for name in ("bert", "llama"))
    assert text(encoder["rows"][0]) == "[CLS] the film [SEP] was good [SEP]"
    assert encoder["target"] == "label 'b' (number 1)"
    assert decoder["target"] == f"label 'b' (number 1), read at token {decoder['length'] - 1}"
    assert text(decoder["rows"][0]) == "the film<|endoftext|>was good"


def test_a_value_is_told_in_its_own_unit_and_as_it_is_learned(look):
    samples = look("bert", VALUES, task="regress")["samples"]
    assert [sample["target"] for sample in samples] == ["value 4, learned as +1.0000", "value 2, learned as -1.0000"]


def test_each_word_has_its_tag(look):
    (sample,) = look("bert", TAGS)["samples"]
    (row,) = sample["rows"]
    assert row["tags"] == {"1": "B-PER", "2": "O", "3": "O", "4": "B-LOC", "5": "I-LOC"}
    assert row["learned"] == [False, True, True, True, True, True, False]
    drawn = look("bert", TAGS)
    marked = "".join(f"[{piece}]" if ink == "learned" else piece for piece, ink in show(drawn)[-3].pieces)
    assert marked == "[CLS] [B-PER:anna] [lives] [in] [B-LOC:new] [I-LOC:york] [SEP]"


def test_an_answer_is_marked_and_where_there_is_none_the_first_token(look):
    answered, none = look("bert", QUESTIONS)["samples"]
    assert answered["target"] == "the answer at tokens 5 to 5"
    assert learned(answered["rows"][0]) == ["anna"]
    assert text(answered["rows"][0]) == "[CLS] who lives [SEP] there anna lives in new york [SEP]"
    assert none["target"] == "no answer (token 0)"
    assert learned(none["rows"][0]) == ["[CLS]"]
    assert (answered["length"], answered["measured"]) == (2, "tokens of the question")


def test_of_a_context_in_windows_each_is_shown_with_its_own_answer(look):
    # Eight tokens: [CLS] who lives [SEP] and [SEP] leave three to the context, of six words.
    (sample,) = look("bert", QUESTIONS[:1], sequence_length=8)["samples"]
    assert len(sample["rows"]) > 1
    assert next(learned(row) for row in sample["rows"]) == ["anna"]
    assert [learned(row) for row in sample["rows"]][-1] == ["[CLS]"]
    assert sample["target"].endswith(f"window {len(sample['rows'])} of {len(sample['rows'])}: no answer (token 0)")


def test_of_two_answers_only_their_own_tokens_are_learned(look):
    (sample,) = look("llama", PREFERENCES)["samples"]
    chosen, rejected = sample["rows"]
    assert (chosen["title"], rejected["title"]) == ("chosen", "rejected")
    assert (learned(chosen), learned(rejected)) == (["red please<|im_end|>"], ["no<|im_end|>"])
    assert chosen["bos"] == rejected["bos"] == 0
    assert [end["learned"] for end in chosen["ends"]] == [False, True]


def test_of_a_conversation_the_assistants_turns_are_learned_with_their_ends(look):
    seen = look("llama", CHATS)
    (row,) = seen["samples"][0]["rows"]
    assert learned(row) == ["red<|im_end|>", "blue please<|im_end|>"]
    assert [end["learned"] for end in row["ends"]] == [False, True, False, True]
    assert seen["facts"]["learned"] == "the assistant's turns"
    last = look("llama", CHATS, causal={"learn": "last"})["samples"][0]["rows"][0]
    assert learned(last) == ["blue please<|im_end|>"]


def test_a_text_is_learned_whole_with_the_end_after_it(look):
    (sample,) = look("llama", [{"text": "the film was good"}], task="text")["samples"]
    (row,) = sample["rows"]
    assert text(row) == "the film was good<|endoftext|>"
    assert row["learned"] == [False] + [True] * (len(row["ids"]) - 1)  # the first token is never predicted


def test_of_an_encoder_with_a_decoder_both_sides_are_shown(look):
    (sample,) = look("t5", PROMPTS)["samples"]
    read, written = sample["rows"]
    assert (read["title"], written["title"]) == ("the encoder reads", "the decoder learns")
    assert "say red" in text(read) and read["trained"] == 0
    assert text(written) == "<|pad|>red please<|endoftext|>"  # a decoder begins with the pad token
    assert learned(written) == ["red please<|endoftext|>"]
    assert written["ends"] == [{"at": len(written["ids"]) - 1, "learned": True}]


@pytest.mark.parametrize(("rows", "titles"), [(PROMPTS, 2), (PREFERENCES, 3)])
def test_of_texts_that_belong_together_all_are_shown(look, rows, titles):
    (sample,) = look("bert", rows, task="embed")["samples"]
    assert [row["title"] for row in sample["rows"]] == ["anchor", "positive", "negative"][:titles]
    wanted = ["[CLS] say red [SEP]", "[CLS] red please [SEP]", "[CLS] no [SEP]"]
    assert [text(row) for row in sample["rows"]] == wanted[:titles]


ROWS = {
    "chat": ("llama", CHATS),
    "text": ("llama", PROMPTS),
    "dpo": ("llama", PREFERENCES),
    "embed": ("bert", PROMPTS),
    "seq2seq": ("t5", PROMPTS),
    "classify": ("bert", LABELS),
    "regress": ("bert", VALUES),
    "tag": ("bert", TAGS),
    "qa": ("bert", QUESTIONS),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_drawn_on_a_terminal_and_as_a_page(look, task, capsys):
    from rich.console import Console

    model, rows = ROWS[task]
    told = look(model, rows, task=task)
    json.dumps(told, allow_nan=False)
    assert told["facts"]["limit"] and not told["refused"]
    assert all(sample["rows"] for sample in told["samples"])
    print_blocks(Console(width=100), show(told))
    out = capsys.readouterr().out
    assert "rows.jsonl:1" in out
    assert told["facts"]["learned"][:20] in out
    html = page("What is learned", show(told))
    assert ("<ins>" in html) == any(row["trained"] for sample in told["samples"] for row in sample["rows"])


def test_what_training_would_refuse_is_refused_here_with_its_line(look):
    rows = [*LABELS, {"text": "the film " * 60, "label": "pos"}, {"text": "", "label": "neg"}]
    told = look("bert", rows, samples=4)
    assert len(told["samples"]) == 2
    long, empty = told["refused"]
    assert long["where"].endswith("rows.jsonl:3") and "is longer than the limit of" in long["message"]
    assert "--over-length drop or truncate" in long["mend"]
    assert empty["where"].endswith("rows.jsonl:4") and "empty" in empty["message"]


def test_what_becomes_of_long_examples_is_said_of_each(look):
    rows = [*LABELS, {"text": "the film " * 60, "label": "pos"}]
    cut = look("bert", rows, over_length="truncate", sequence_length=16)["samples"][2]
    assert (cut["fate"], cut["length"], cut["cut"]) == ("truncated to 16", 122, 106)
    gone = look("bert", rows, over_length="drop", sequence_length=16)["samples"][2]
    assert gone["fate"] == "too long: left out" and "rows" not in gone
    parts = look("llama", [{"text": "the film " * 20}], task="text", over_length="split", sequence_length=16)["samples"]
    assert len(parts) > 1 and all(part["fate"].startswith("split to ") for part in parts)
    assert sum(len(part["rows"][0]["ids"]) for part in parts) == parts[0]["length"]


def test_what_no_run_could_learn_is_refused_as_a_run_would(look):
    with pytest.raises(DataError, match="nothing to tell apart"):
        look("bert", LABELS[:1])
    with pytest.raises(UsageError, match="--packing means nothing for 'label'"):
        look("bert", LABELS, causal={"packing": True})
    with pytest.raises(UsageError, match="half a text has not the label"):
        look("bert", LABELS, over_length="split")


def test_no_weights_are_read(look, bases, tmp_path):
    weights = bases["bert"] / "model.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    try:
        assert look("bert", LABELS)["samples"]
    finally:
        weights.write_bytes(kept)
