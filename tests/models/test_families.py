from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from llmkit.errors import UsageError
from llmkit.models.build import AUTO_CLASSES, SpecialIds, new_config
from llmkit.models.families import FAMILIES, family, size_of

SIZES = [(row.name, name) for row in FAMILIES.values() for name in row.sizes]
IDS = SpecialIds(pad=1, eos=0, bos=0, mask=2, cls=3, sep=4)


def parameters(name, size):
    chosen = FAMILIES[name].sizes[size]
    config = new_config(name, size, vocab_size=chosen.vocabulary, ids=IDS, sequence_length=chosen.context)
    with torch.device("meta"):
        model = AUTO_CLASSES[FAMILIES[name].objective].from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_family_of_the_design_is_in_the_table():
    named = "gpt2 bert t5 llama vicuna bloom opt falcon xgen mistral codegen qwen2 qwen3 llama3 smollm gemma modernbert"
    assert set(named.split()) == set(FAMILIES)
    assert all(row.model_type in CONFIG_MAPPING_NAMES for row in FAMILIES.values())


PUBLISHED = [(name, size) for name, size in SIZES if size != "tiny"]

# What the papers call the sizes whose name is no figure, or that are far from it (arXiv numbers are in the table).
STATED = {
    ("bert", "base"): 110e6,
    ("bert", "large"): 340e6,
    ("t5", "small"): 60e6,
    ("t5", "base"): 220e6,
    ("t5", "large"): 770e6,
    ("modernbert", "base"): 149e6,
    ("modernbert", "large"): 395e6,
    ("codegen", "2b"): 2.7e9,
    ("codegen", "6b"): 6.1e9,
    ("codegen", "16b"): 16.1e9,
    ("opt", "350m"): 350e6,
    ("gemma", "2b"): 2.5e9,
    ("gemma", "7b"): 8.5e9,
    ("t5", "3b"): 2.8e9,
    ("qwen2", "7b"): 7.61e9,
    ("qwen2", "14b"): 14.7e9,
    ("qwen3", "14b"): 14.8e9,
    ("llama3", "3.2-1b"): 1.23e9,
    ("llama3", "3.2-3b"): 3.21e9,
    ("vicuna", "33b"): 32.5e9,
    ("llama", "1-30b"): 32.5e9,
}
# CodeGen's 6.1B counts fewer layers than its configuration has; OPT and T5 round generously.
ROUNDING = {("codegen", "6b"): 0.16, ("opt", "350m"): 0.06, ("t5", "large"): 0.05}


@pytest.mark.parametrize(("name", "size"), PUBLISHED)
def test_a_published_size_has_exactly_the_parameters_of_its_published_configuration(name, size):
    published = FAMILIES[name].sizes[size]
    assert parameters(name, size) == published.parameters
    assert published.source.startswith("https://")


@pytest.mark.parametrize(("name", "size"), PUBLISHED)
def test_a_published_size_is_as_large_as_its_publishers_say(name, size):
    stated = STATED.get((name, size)) or figure(size)
    assert FAMILIES[name].sizes[size].parameters == pytest.approx(stated, rel=ROUNDING.get((name, size), 0.045))


def figure(size):
    """`3.1-405b` -> 405e9, `1b7` -> 1.7e9."""
    match = re.fullmatch(r"(?:.*-)?(\d+(?:\.\d+)?)([bm])(\d?)", size)
    number = float(f"{match[1]}.{match[3]}") if match[3] else float(match[1])
    return number * {"b": 1e9, "m": 1e6}[match[2]]


def test_every_size_that_the_project_promises_is_there():
    promised = "gpt2 124m, gpt2 1.5b, llama 2-70b, vicuna 13b, bloom 176b, opt 175b, falcon 180b, xgen 7b, mistral 7b"
    for name, size in (pair.split() for pair in [*promised.split(", "), "codegen 16b", "t5 11b", "bert large"]):
        assert size in FAMILIES[name].sizes


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_tiny_size_of_one_to_six_million_parameters(name):
    assert 1e6 < parameters(name, "tiny") < 6e6


def test_the_table_is_read_without_torch_or_transformers():
    code = (
        "import sys; import llmkit.models.families, llmkit.models.templates; "
        "sys.exit(bool({'torch', 'transformers', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wrong_name_is_answered_with_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'mistral'"):
        family("mistrall")
    with pytest.raises(UsageError, match="did you mean '124m'"):
        size_of(family("gpt2"), "124")
