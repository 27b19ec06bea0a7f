from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from llmkit.errors import UsageError
from llmkit.models.build import AUTO_CLASSES, SpecialIds, new_config
from llmkit.models.families import FAMILIES, family, size_of
from llmkit.models.published import PUBLISHED, Published

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


SIZES_OF_OTHERS = [(name, size) for name, size in SIZES if size != "tiny"]


def test_every_size_but_our_own_has_its_records():
    assert {(name, size) for name, sizes in PUBLISHED.items() for size in sizes} == set(SIZES_OF_OTHERS)
    for name, size in SIZES_OF_OTHERS:
        record = PUBLISHED[name][size]
        assert all(
            source.startswith("https://")
            for source in (FAMILIES[name].sizes[size].source, record.printed, record.shape)
        )


@pytest.mark.parametrize(("name", "size"), SIZES_OF_OTHERS)
def test_a_published_size_has_the_parameters_that_its_publishers_print(name, size):
    built, record = parameters(name, size), PUBLISHED[name][size]
    assert built == FAMILIES[name].sizes[size].parameters
    least, past = record.bounds
    assert (least <= built < past) == (not record.differs)


def test_the_counts_that_are_printed_to_the_last_digit_agree():
    # Gemma's paper (table 2) has 256,128 rows in the embedding, and the published files have 256,000.
    for size, without_embedding, width in (("2b", 1_981_884_416, 2048), ("7b", 7_751_248_896, 3072)):
        assert parameters("gemma", size) == without_embedding + 256_000 * width
    # Falcon's files have the output layer beside the embedding that it is.
    assert parameters("falcon", "180b") + 65024 * 14848 == 179_522_565_120
    # T5 is said to have 770 million with the embedding counted for encoder and decoder.
    assert parameters("t5", "large") + 32128 * 1024 == 770_567_168
    assert parameters("bloom", "176b") == 176_247_271_424
    assert parameters("qwen2", "32b") == 32_763_876_352


@pytest.mark.parametrize(
    ("figure", "least", "past"),
    [
        ("1.23B", 1.225e9, 1.24e9),
        ("175B", 174.5e9, 176e9),
        ("340M", 335e6, 350e6),
        ("13.0B", 12.95e9, 13.1e9),
        ("559,214,592", 559_214_591.5, 559_214_593),
    ],
)
def test_a_printed_figure_is_as_exact_as_its_last_digit(figure, least, past):
    assert Published(figure, "", "").bounds == pytest.approx((least, past), rel=1e-12)


def test_every_size_that_the_project_promises_is_there():
    promised = "gpt2 124m, gpt2 1.5b, llama 2-70b, vicuna 13b, bloom 176b, opt 175b, falcon 180b, xgen 7b, mistral 7b"
    for name, size in (pair.split() for pair in [*promised.split(", "), "codegen 16b", "t5 11b", "bert large"]):
        assert size in FAMILIES[name].sizes


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_tiny_size_of_one_to_six_million_parameters(name):
    assert 1e6 < parameters(name, "tiny") < 6e6


def test_the_table_is_read_without_torch_or_transformers():
    code = (
        "import sys; import llmkit.models.dimensions, llmkit.models.published, llmkit.models.templates; "
        "sys.exit(bool({'torch', 'transformers', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wrong_name_is_answered_with_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'mistral'"):
        family("mistrall")
    with pytest.raises(UsageError, match="did you mean '124m'"):
        size_of(family("gpt2"), "124")
