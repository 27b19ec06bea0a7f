from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.errors import DataError
from llmkit.models.templates import CHAT_TEMPLATES
from llmkit.train.examples import SHORTENING, Rendered, begins, ended, ends_of, render, render_pair
from llmkit.train.lengths import fit
from llmkit.train.padding import Padded, buckets
from llmkit.train.samples import IGNORE, Sample

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What does os.getcwd return?"},
    {"role": "assistant", "content": "The current working directory."},
    {"role": "user", "content": "As what?"},
    {"role": "assistant", "content": "A str."},
]


def learned(example, tokenizer):
    """The runs of learned tokens, as text."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], example.trained.astype(int), [0]])))
    return [tokenizer.decode(example.ids[start:end]) for start, end in edges.reshape(-1, 2)]


def test_only_the_assistants_turns_and_their_ends_are_learned(tokenizer):
    example = render(TURNS, tokenizer)
    assert learned(example, tokenizer) == ["The current working directory.<|im_end|>", "A str.<|im_end|>"]
    assert tokenizer.decode([example.last_trained]) == "<|im_end|>"


def test_the_tokens_are_those_the_chat_template_serves(tokenizer):
    served = tokenizer.apply_chat_template(TURNS, tokenize=True, return_dict=True)["input_ids"]
    assert render(TURNS, tokenizer).ids.tolist() == served


def test_the_tokens_before_a_reply_are_those_the_model_will_be_asked_with(tokenizer):
    example = render(TURNS[:3], tokenizer)
    asked = tokenizer.apply_chat_template(TURNS[:2], add_generation_prompt=True, return_dict=True)["input_ids"]
    first = int(np.flatnonzero(example.trained)[0])
    assert example.ids[:first].tolist() == asked


@pytest.fixture
def with_template(tokenizer):
    """The tokenizer with another chat format; the format's special tokens are plain text to it."""
    original = tokenizer.chat_template

    def use(template):
        tokenizer.chat_template = template
        return tokenizer

    yield use
    tokenizer.chat_template = original


@pytest.mark.parametrize("name", sorted(CHAT_TEMPLATES))
def test_every_published_format_marks_the_replies_ends_them_and_begins_once(name, with_template):
    tokenizer = with_template(CHAT_TEMPLATES[name])
    turns = TURNS[1:] if name == "gemma" else TURNS
    example = render(turns, tokenizer)
    parts = learned(example, tokenizer)
    assert len(parts) == 2
    assert "The current working directory." in parts[0]
    assert "A str." in parts[1]
    assert "What does" not in "".join(parts)
    assert example.trained[-1] or name == "chatml"
    begins_with_bos = example.ids[:2].tolist().count(tokenizer.bos_token_id)
    assert begins_with_bos == ("bos_token" in CHAT_TEMPLATES[name])


def test_a_reply_that_the_template_does_not_end_is_ended_by_eos(with_template):
    tokenizer = with_template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}")
    example = render(TURNS[1:3], tokenizer)
    assert example.ids[-1] == example.last_trained == tokenizer.eos_token_id


def test_llama3_text_is_the_published_form(with_template):
    tokenizer = with_template(CHAT_TEMPLATES["llama3"])
    text = tokenizer.apply_chat_template(TURNS[:2], tokenize=False, add_generation_prompt=True)
    assert text == (
        f"{tokenizer.bos_token}<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhat does os.getcwd return?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_llama2_text_is_the_published_form(with_template):
    tokenizer = with_template(CHAT_TEMPLATES["llama2"])
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    assert tokenizer.apply_chat_template(TURNS, tokenize=False) == (
        f"{bos}[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhat does os.getcwd return? [/INST] The current working "
        f"directory. {eos}{bos}[INST] As what? [/INST] A str. {eos}"
    )


def test_a_template_that_refuses_the_roles_is_bad_data_with_its_reason(with_template):
    tokenizer = with_template(CHAT_TEMPLATES["gemma"])
    with pytest.raises(DataError, match="no system role") as caught:
        render(TURNS, tokenizer, where="chats.jsonl:7")
    assert caught.value.where == "chats.jsonl:7"


def test_a_template_that_rewrites_history_is_refused(with_template):
    tokenizer = with_template("{% for m in messages %}{{ loop.length }}{{ m['content'] }}{% endfor %}")
    with pytest.raises(DataError, match="writes earlier turns differently"):
        render(TURNS, tokenizer)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "nothing to learn"),
        (TURNS[:2], "nothing to learn"),
        ([*TURNS[:2], {"role": "assistant", "content": "  "}], "turn 3 of the assistant is empty"),
    ],
)
def test_a_conversation_without_a_reply_is_bad_data(turns, message, tokenizer):
    with pytest.raises(DataError, match=message) as caught:
        render(turns, tokenizer, where="chats.jsonl:3")
    assert caught.value.where == "chats.jsonl:3"


def test_a_tokenizer_without_a_template_says_how_to_go_on(with_template):
    with pytest.raises(DataError, match="no chat template") as caught:
        render(TURNS, with_template(None))
    assert "plain text" in caught.value.mend


def test_of_a_plain_pair_the_completion_and_eos_are_learned(tokenizer):
    example = render_pair("def f(x):", " return x", tokenizer)
    assert learned(example, tokenizer) == [" return x<|endoftext|>"]
    assert example.ids[: -int(example.trained.sum())].tolist() == tokenizer.encode("def f(x):")


def test_of_plain_text_everything_is_learned(tokenizer):
    example = render_pair("", "import os", tokenizer)
    assert example.trained.all()
    with pytest.raises(DataError, match="nothing to learn"):
        render_pair("def f():", "", tokenizer)


def example(length, learned_from=0, where=""):
    return Rendered(np.arange(length), np.arange(length) >= learned_from, where)


def test_what_is_left_of_long_examples_is_their_beginning_or_all_of_their_pieces():
    given_ = [example(5), example(20), example(20, learned_from=15)]
    cut = fit(given_, 8, "truncate", SHORTENING)
    assert [len(e) for e in cut.examples] == [5, 8]
    assert (cut.truncated, cut.untrainable) == (1, 1)
    split = fit(given_, 8, "split", SHORTENING)
    assert [e.ids.tolist() for e in split.examples[1:4]] == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    assert (split.split, split.untrainable) == (2, 1)


def test_buckets_are_few_and_waste_less_than_a_quarter():
    lengths = buckets(1024)
    assert lengths[:6] == [32, 40, 48, 56, 64, 80]
    assert lengths[-1] == 1024
    assert len(lengths) == 21
    assert buckets(100)[-1] == 100
    assert buckets(5) == [32]


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(2, 90), min_size=1, max_size=60), size=st.integers(1, 7), epoch=st.integers(0, 2))
def test_padding_keeps_every_example_once_and_learns_exactly_its_tokens(lengths, size, epoch):
    given_ = [example(length, learned_from=length // 2) for length in lengths]
    padded = Padded(given_, batch_size=size, seed=1)
    order = padded.order(epoch)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    for number in order:
        batch = padded.batch([Sample(epoch, int(number))], 1)
        one = given_[number]
        kept = batch.labels[0] != IGNORE
        assert batch.labels[0][kept].tolist() == one.ids[1:][one.trained[1:]].tolist()
        assert (batch.inputs["input_ids"][0][kept] + 1).tolist() == batch.labels[0][kept].tolist()


def test_a_steps_samples_are_alike_and_the_longest_come_first():
    random = np.random.default_rng(0)
    given_ = [example(int(length)) for length in random.integers(2, 500, 640)]
    padded = Padded(given_, batch_size=8, seed=1)
    for epoch in (0, 1):
        lengths = np.array([len(given_[number]) for number in padded.order(epoch)]).reshape(-1, 8)
        assert np.mean(lengths.max(1) - lengths.min(1)) < 25
        if epoch == 0:
            assert lengths[0].max() == lengths.max()
        assert abs(np.corrcoef(np.arange(len(lengths)), lengths.mean(1))[0, 1]) < 0.4  # steps are still shuffled


def test_no_examples_are_bad_data():
    with pytest.raises(DataError, match="no examples"):
        Padded([], batch_size=2, seed=0)


def test_of_the_last_turn_only_that_turn_is_learned(tokenizer):
    assert learned(render(TURNS, tokenizer, learn="last"), tokenizer) == ["A str.<|im_end|>"]


def test_learning_all_leaves_nothing_out_and_still_ends(tokenizer, with_template):
    assert render(TURNS, tokenizer, learn="all").trained.all()
    assert render_pair("def f(x):", " return x", tokenizer, learn="all").trained.all()
    plain = with_template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}")
    assert render(TURNS[1:3], plain, learn="all").last_trained == tokenizer.eos_token_id
    with pytest.raises(DataError, match="nothing to learn"):
        render_pair("def f():", "", tokenizer, learn="all")


def test_the_last_turn_can_be_learned_where_a_template_rewrites_earlier_ones(with_template):
    """As the templates of reasoning models do, which leave earlier thoughts out."""
    tokenizer = with_template(
        "{% for m in messages %}{{ m['role'] }}:{% if loop.last or m['role'] != 'assistant' %}{{ m['content'] }}"
        "{% else %}(left out){% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    with pytest.raises(DataError, match="writes earlier turns differently") as caught:
        render(TURNS, tokenizer)
    assert "--learn last" in caught.value.mend
    assert learned(render(TURNS, tokenizer, learn="last"), tokenizer) == ["A str.<|endoftext|>"]


@pytest.mark.parametrize(
    ("name", "ends"), [("chatml", {"<|im_end|>"}), ("llama2", set()), ("vicuna", set()), ("none", set())]
)
def test_the_ends_of_a_reply_are_eos_and_the_templates_own(name, ends, with_template):
    tokenizer = with_template(CHAT_TEMPLATES.get(name))
    assert {*tokenizer.convert_ids_to_tokens([*ends_of(tokenizer)])} == {tokenizer.eos_token} | ends


def test_an_example_that_was_cut_off_teaches_no_end(tokenizer):
    whole = render(TURNS, tokenizer, learn="last")
    assert ended(whole, ends_of(tokenizer))
    cut = fit([whole], len(whole) - 3, "truncate", SHORTENING).examples[0]
    assert not ended(cut, ends_of(tokenizer))


def test_leading_bos_tokens_are_counted():
    one = Rendered(np.array([1, 1, 7, 1]), np.ones(4, dtype=bool))
    assert (begins(one, 1), begins(one, 7), begins(one, None)) == (2, 0, 0)
