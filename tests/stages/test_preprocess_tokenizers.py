"""`preprocess --algorithm`: each kind of tokenizer, trained with the dataset and loaded as any other; cached tokens."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from llmkit.config.resolve import flag_layer, resolve
from llmkit.data.tokenizer import RESERVED
from llmkit.errors import LlmkitError
from llmkit.registry.store import Registry
from llmkit.reporting.reporter import Silent
from llmkit.stages.base import Mode, execute
from llmkit.stages.preprocess import STAGE, PreprocessConfig

BOTCHAN = (
    "親譲りの無鉄砲で小供の時から損ばかりしている。小学校に居る時分"
    "学校の二階から飛び降りて一週間ほど腰を抜かした事がある。"
)
ALGORITHMS = ("bpe", "unigram", "wordpiece")
Made = dict[str, Any]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("registry") / "home")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for name in ("textwrap", "shlex", "bisect", "heapq"):
        text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8")
        (folder / f"{name}.py").write_text(text)
    (folder / "botchan.txt").write_text(BOTCHAN * 30)
    return folder


def do(registry: Registry, folder: Path, **given: Any) -> Any:
    given = {"inputs": (str(folder),), "vocab_size": 600} | given
    return execute(STAGE, resolve(PreprocessConfig, [flag_layer(PreprocessConfig, given)]), registry, Silent(), Mode())


@pytest.fixture(scope="module")
def made(registry: Registry, folder: Path) -> Made:
    return {each: do(registry, folder, name=each, algorithm=each) for each in ALGORITHMS}


def load(result: Any) -> Any:
    (path,) = [artifact.path for artifact in result.artifacts if artifact.kind == "tokenizer"]
    return AutoTokenizer.from_pretrained(path)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_trained_tokenizer_comes_along_and_loads_with_plain_transformers(made: Made, algorithm: str) -> None:
    result = made[algorithm]
    assert [artifact.ref for artifact in result.artifacts] == [f"{algorithm}@1", f"{algorithm}-tokenizer@1"]
    tokenizer = load(result)
    assert len(tokenizer) <= 600
    assert [tokenizer.convert_tokens_to_ids(token) for token in RESERVED] == list(range(len(RESERVED)))
    assert set(RESERVED) <= set(tokenizer.all_special_tokens)
    ids = tokenizer("def wrap(text): return text", add_special_tokens=False)["input_ids"]
    assert ids
    assert len(ids) < len("def wrap(text): return text")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_its_tokens_are_counted_and_cached(made: Made, registry: Registry, folder: Path, algorithm: str) -> None:
    tokens = made[algorithm].payload["tokens"]
    assert tokens["train"] > 1000
    caches = list((registry.layout.cache / "tokens").iterdir())
    assert len(caches) == len(ALGORITHMS)
    again = do(registry, folder, name=f"again-{algorithm}", algorithm=algorithm, seed=0)
    assert again.reused
    assert list((registry.layout.cache / "tokens").iterdir()) == caches


@settings(max_examples=60, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.text(st.characters(max_codepoint=0x3100), max_size=40)))
@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_any_text_comes_back_to_the_letter(made: Made, algorithm: str, text: str) -> None:
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        return
    tokenizer = load_once(made, algorithm)
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


LOADED: dict[str, Any] = {}


def load_once(made: Made, algorithm: str) -> Any:
    if algorithm not in LOADED:
        LOADED[algorithm] = load(made[algorithm])
    return LOADED[algorithm]


def test_wordpiece_keeps_words_and_marks_what_it_cannot_spell(made: Made) -> None:
    tokenizer = load(made["wordpiece"])
    ids = tokenizer("return the text", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "return the text"
    assert tokenizer("\U0001f419", add_special_tokens=False)["input_ids"] == [tokenizer.unk_token_id]


def test_a_tokenizer_of_the_registry_is_used_instead_of_training_one(
    made: Made, registry: Registry, folder: Path
) -> None:
    result = do(registry, folder, name="borrowed", tokenizer="bpe-tokenizer")
    assert [artifact.kind for artifact in result.artifacts] == ["dataset"]
    assert result.payload["tokens"] == made["bpe"].payload["tokens"]


def test_a_tokenizer_that_is_not_there_is_said_so_before_anything_is_read(registry: Registry, folder: Path) -> None:
    with pytest.raises(LlmkitError, match="nowhere") as caught:
        do(registry, folder, name="x", tokenizer="nowhere")
    assert caught.value.exit_code == 3
