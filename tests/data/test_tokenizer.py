import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from transformers import AutoTokenizer

from llmkit.data.tokenizer import (
    RESERVED,
    RESERVED_BY_CHARACTERS,
    SENTINELS,
    SMALLEST_VOCABULARY,
    TrainedTokenizer,
    save_tokenizer,
    train_tokenizer,
)
from llmkit.errors import DataError, UsageError
from llmkit.train.objectives import objective_for

STDLIB = Path(sysconfig.get_path("stdlib"))


def sources() -> Iterator[str]:
    for path in sorted(STDLIB.glob("json/*.py")) + sorted(STDLIB.glob("a*.py")):
        yield path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def trained() -> TrainedTokenizer:
    return train_tokenizer(sources(), 1000)


@pytest.fixture(scope="module")
def folder(trained: TrainedTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(trained.tokenizer, folder)
    return folder


def test_plain_transformers_loads_it_with_every_special_token(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 1000
    assert [tokenizer.convert_tokens_to_ids(token) for token in RESERVED] == list(range(len(RESERVED)))
    assert tokenizer.bos_token == tokenizer.eos_token == "<|endoftext|>"
    assert (tokenizer.pad_token, tokenizer.mask_token, tokenizer.cls_token, tokenizer.sep_token) == RESERVED[1:5]
    assert set(RESERVED) == set(tokenizer.all_special_tokens)
    assert len(SENTINELS) == 100


def test_any_text_comes_back(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in (
        "def f(x):\n\treturn x  \n\n",
        "吾輩は猫である 🙂\u200d",
        "\0\x7f ́",
        "don't  stop",
        " lead and trail ",
    ):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_is_chatml_and_its_marks_are_single_tokens(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
    opened = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert opened == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(text)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 2
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2


def test_the_same_texts_give_the_same_tokenizer_in_another_process(trained: TrainedTokenizer) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_tokenizer import sources; "
        "from llmkit.data.tokenizer import train_tokenizer; "
        "sys.stdout.write(train_tokenizer(sources(), 1000).tokenizer.backend_tokenizer.to_str())"
    )
    env = os.environ | {"PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], env=env, capture_output=True, check=True
    )
    assert done.stdout.decode("utf-8") == trained.tokenizer.backend_tokenizer.to_str()


def test_a_small_corpus_gives_a_smaller_vocabulary_and_says_so() -> None:
    trained = train_tokenizer(["one two three one two three"], 5000)
    assert trained.clipped
    assert SMALLEST_VOCABULARY <= trained.vocab_size < 400


def test_a_vocabulary_too_small_for_the_reserved_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot hold") as caught:
        train_tokenizer(["text"], 300)
    assert str(SMALLEST_VOCABULARY) in str(caught.value.mend)


def test_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="no text"):
        train_tokenizer([], 1000)


def test_one_endless_word_does_not_hang_the_training() -> None:
    assert train_tokenizer(["a" * 2_000_000, "ab " * 100], 400).vocab_size <= 400


@pytest.fixture(scope="module")
def by_characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("characters")
    trained = train_tokenizer([ALPHABET, "eeeeee"], 1000, "characters")
    assert trained.vocab_size == len(RESERVED_BY_CHARACTERS) + 1 + len(ALPHABET)
    assert not trained.clipped
    save_tokenizer(trained.tokenizer, folder)
    return folder


ALPHABET = "abcdefgh XYZ\n\r\t.,'\u00a0\u0301吾輩\U0001f642"


def test_each_character_is_one_token_and_any_text_of_them_comes_back(by_characters: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(by_characters)
    random = Random(5)
    for length in (0, 1, 2, 17, 400):
        text = "".join(random.choices(ALPHABET, k=length))
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == length
        assert tokenizer.decode(ids) == text
    assert len({tuple(tokenizer(character)["input_ids"]) for character in ALPHABET}) == len(ALPHABET)


def test_an_unknown_character_is_shown_as_such_and_moves_nothing(by_characters: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(by_characters)
    ids = tokenizer("abQé")["input_ids"]
    assert len(ids) == 4
    assert ids[2:] == [tokenizer.unk_token_id] * 2
    assert tokenizer.decode(ids) == "ab<|unk|><|unk|>"


def test_a_tokenizer_of_characters_has_what_every_objective_needs(by_characters: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(by_characters)
    assert [tokenizer.convert_tokens_to_ids(token) for token in RESERVED_BY_CHARACTERS] == list(range(39))
    for kind in ("causal", "masked", "seq2seq"):
        assert objective_for(kind, tokenizer, 512).reads > 400
    turns = [{"role": "a", "content": "h"}]
    assert tokenizer("<|im_start|>a\nh<|im_end|>\n") == tokenizer.apply_chat_template(turns, return_dict=True)


def test_only_the_most_frequent_characters_are_kept_where_the_vocabulary_is_full() -> None:
    many = "".join(chr(0x4E00 + number) for number in range(2000))
    trained = train_tokenizer([many, "aaa" + many[:300]], 364, "characters")
    assert trained.vocab_size == 364
    kept = set(trained.tokenizer.get_vocab())
    assert {"a", many[0]} <= kept
    assert many[1999] not in kept
