"""What pretraining starts from: dimensions of one's own, a model of a folder or the Hub, another tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e.conftest import Cli, small_corpus
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

SHORT = ("--steps", 2, "--sequence-length", 64, "--batch-size", 4, "--eval-every", 0)
SMALL = ("--layers", 2, "--width", 64, "--heads", 4)
REPOSITORY, REVISION = "org/published", "0123456789012345678901234567890123456789"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A registry with a dataset, its tokenizer and a small model."""
    folder = tmp_path_factory.mktemp("starting")
    cli = Cli(folder, folder / "home")
    small_corpus(folder / "docs")
    cli.ok("preprocess", "docs", "--name", "corpus", "--vocab-size", 1000)
    cli.ok("pretrain", "--data", "corpus", "--name", "base", *SMALL, *SHORT)
    return cli


@pytest.fixture(scope="module")
def published(made: Cli) -> Path:
    """The model as a stranger would have published it before safetensors: a folder with a `.bin`."""
    folder = made.folder / "published"
    shutil.copytree(path_of(made, "base"), folder)
    for name in ("manifest.json", "report.html"):
        (folder / name).unlink(missing_ok=True)
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    return folder


def path_of(cli: Cli, ref: str) -> Path:
    return Path(cli.ok("registry", "show", ref)["path"])


def path(result: dict[str, Any]) -> Path:
    return Path(result["artifact"]["path"])


def embedding(folder: Path) -> torch.Tensor:
    weight: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight.detach()
    return weight


def test_dimensions_are_in_the_model_and_part_of_what_was_made(made: Cli) -> None:
    words = ("pretrain", "--data", "corpus", "--family", "llama", *SHORT)
    shape = ("--layers", 3, "--width", 48, "--heads", 6, "--kv-heads", 2, "--ff-width", 96, "--vocab-size", 1024)
    first = made.ok(*words, *shape, "--dropout", 0.2, "--name", "shaped")
    config = json.loads((path(first) / "config.json").read_text())
    expected = {
        "num_hidden_layers": 3,
        "hidden_size": 48,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "vocab_size": 1024,
        "attention_dropout": 0.2,
    }
    assert {key: config[key] for key in expected} == expected
    assert embedding(path(first)).shape == (1024, 48)
    again = made.ok(*words, *shape, "--dropout", 0.2)
    other = made.ok(*words, *shape, "--dropout", 0.1)
    assert (again["reused"], other["reused"]) == (True, False)
    assert made.ok("plan", "--family", "llama", *shape, "--gpu", "h100")["parameters"]["total"] == first["parameters"]


def test_the_forecast_has_the_dimensions_too(made: Cli) -> None:
    words = ("pretrain", "--data", "corpus", *SMALL, *SHORT, "--seed", 7)
    planned = made.ok(*words, "--dry-run")
    assert planned["takes"]["parameters"]["total"] == made.ok(*words)["parameters"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--heads", 5), 2, "cannot be shared out among 5 heads"),
        (("--kv-heads", 2), 2, "gpt2 models have no --kv-heads"),
        (("--vocab-size", 500), 2, "cannot hold the"),
        (("--init", "base", "--layers", 3), 2, "has its own architecture"),
        (("--init", "base", "--family", "llama"), 2, "has its own architecture"),
        (("--init", "base", "--sequence-length", 65), 2, "past the model's context of 64"),
        (("--sequence-length", 2048), 2, "past the context of gpt2 tiny"),
        (("--init", "./nowhere"), 3, "no model folder"),
        (("--init", "org/not-in-the-cache"), 5, "HF_HUB_OFFLINE"),
    ],
)
def test_what_cannot_start_is_said_before_anything_is_done(
    made: Cli, words: tuple[object, ...], code: int, said: str
) -> None:
    ran = made("pretrain", "--data", "corpus", *SHORT, *words)
    assert (ran.code, said in " ".join(ran.err.split())) == (code, True), ran.err


def test_a_folder_of_published_weights_goes_on_even_if_they_are_pickled(made: Cli, published: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(made.folder / "cache")}
    words = ("pretrain", "--data", "corpus", "--init", "./published", *SHORT, "--lr", 1e-6)
    result = made.ok(*words, "--name", "continued", **cache)
    start = torch.load(published / "pytorch_model.bin", weights_only=True)["transformer.wte.weight"]
    moved = (embedding(path(result)) - start).abs().max()
    assert 0 < moved < 1e-4
    assert len(list((made.folder / "cache" / "llmkit" / "weights").iterdir())) == 1
    assert sorted(name.suffix for name in published.glob("*model*")) == [".bin"]  # the folder is as it was
    used = {each["role"]: each["ref"] for each in made.ok("registry", "show", "continued")["inputs"]}
    assert used["init"] == "./published"


def test_a_model_of_the_hub_goes_on_from_the_local_cache(made: Cli, published: Path) -> None:
    hub = made.folder / "hub"
    snapshot = hub / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / REVISION
    shutil.copytree(published, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(REVISION)
    environment = {"HF_HUB_CACHE": str(hub), "XDG_CACHE_HOME": str(made.folder / "cache")}
    words = ("pretrain", "--data", "corpus", "--tokenizer", REPOSITORY, "--init", REPOSITORY, *SHORT)
    planned = made.ok(*words, "--dry-run", **environment)
    result = made.ok(*words, "--name", "from-hub", **environment)
    assert planned["takes"]["parameters"]["total"] == result["parameters"]
    assert embedding(path(result)).shape == (1000, 64)


def test_a_tokenizer_of_a_folder_serves_a_new_model(made: Cli, tmp_path: Path) -> None:
    shutil.copytree(path_of(made, "corpus-tokenizer"), tmp_path / "words")
    words = ("pretrain", "--data", "corpus", "--tokenizer", tmp_path / "words", *SMALL, *SHORT)
    result = made.ok(*words, "--name", "folder-words")
    plain = AutoTokenizer.from_pretrained(path(result))
    assert len(plain) == 1000


def test_a_tokenizer_that_does_not_fit_the_model_is_bad_data(made: Cli) -> None:
    made.ok("preprocess", "docs", "--name", "larger", "--vocab-size", 1200)
    ran = made("pretrain", "--data", "corpus", "--init", "base", "--tokenizer", "larger-tokenizer", *SHORT)
    assert ran.code == 4
    assert "its ids go up to 1199" in " ".join(ran.err.split())


def test_a_tokenizer_that_fits_is_the_one_that_is_trained_with_and_saved(made: Cli) -> None:
    made.ok("preprocess", "docs", "--name", "smaller", "--vocab-size", 600)
    words = ("pretrain", "--data", "smaller", "--init", "base", "--tokenizer", "smaller-tokenizer", *SHORT)
    result = made.ok(*words, "--name", "reworded")
    assert len(AutoTokenizer.from_pretrained(path(result))) == 600
    assert embedding(path(result)).shape == (1000, 64)


def test_an_adapter_is_no_start(made: Cli, published: Path) -> None:
    made.ok("preprocess", "corpus", "--reader", "docstrings", "--name", "pairs", "--tokenizer", "none")
    tune = ("--steps", 1, "--over-length", "truncate", "--batch-size", 2)
    made.ok("finetune-lora", "--model", "base", "--data", "pairs", "--name", "adapter", *tune)
    ran = made("pretrain", "--data", "corpus", "--init", "adapter", *SHORT)
    assert (ran.code, "is an adapter" in ran.err) == (2, True), ran.err
