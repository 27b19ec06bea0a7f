from __future__ import annotations

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


WITH_A_FIGURE = [(name, size) for name, size in SIZES if FAMILIES[name].sizes[size].parameters]


@pytest.mark.parametrize(("name", "size"), WITH_A_FIGURE)
def test_a_published_size_has_its_published_number_of_parameters(name, size):
    published = FAMILIES[name].sizes[size].parameters
    rounded = published % 1_000_000 == 0
    # The largest rounding is CodeGen's: 2.7B for 2,779 million.
    assert parameters(name, size) == pytest.approx(published, rel=0.03 if rounded else 0)


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
