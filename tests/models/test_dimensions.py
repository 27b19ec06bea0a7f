from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from llmkit.config.sections import ArchitectureOptions, FamilyOptions, TrainOptions
from llmkit.errors import ConfigError, UsageError
from llmkit.models.build import AUTO_CLASSES, SpecialIds, new_config, new_model
from llmkit.models.dimensions import TERMS, overrides, rows_of
from llmkit.models.families import FAMILIES
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import objective_for

IDS = SpecialIds(pad=1, eos=0, bos=0, mask=2, cls=3, sep=4)


def options(family, size="tiny", **architecture):
    return FamilyOptions(family=family, size=size, architecture=ArchitectureOptions(**architecture))


def config_of(family, size="tiny", **architecture):
    given = options(family, size, **architecture)
    return new_config(family, size, vocab_size=600, ids=IDS, sequence_length=32, overrides=overrides(given))


def counted(config, objective):
    with torch.device("meta"):
        return sum(p.numel() for p in AUTO_CLASSES[objective].from_config(config).parameters())


def blocks(model):
    return [len(part) for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == 5]


def test_every_family_has_its_terms():
    assert {row.model_type for row in FAMILIES.values()} == set(TERMS)


def test_a_size_without_dimensions_of_ones_own_is_that_of_the_table():
    assert all(overrides(options(name)) == {} for name in FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_dimensions_are_those_of_the_model_that_is_trained_saved_and_read_again(name, tokenizer, tmp_path):
    given = options(name, layers=5, width=64, heads=4, dropout=0.1, vocab_size=len(tokenizer) + 7)
    row = FAMILIES[name]
    model = new_model(
        name,
        "tiny",
        vocab_size=rows_of(given.architecture, len(tokenizer)),
        ids=SpecialIds.of(tokenizer),
        sequence_length=32,
        seed=0,
        overrides=overrides(given),
    )
    assert model.get_input_embeddings().weight.shape == (len(tokenizer) + 7, 64)
    assert blocks(model) == [5] * (2 if row.objective == "seq2seq" else 1)
    assert model.config.num_attention_heads == 4
    assert any(part.p == 0.1 for part in model.modules() if isinstance(part, torch.nn.Dropout)) or (
        model.config.attention_dropout == 0.1
    )
    ids = tokenizer("def f(x):\n    return x + 1\n" * 40)["input_ids"]
    samples = Windows(torch.tensor(ids).numpy(), objective_for(row.objective, tokenizer, 32), seed=0)
    before = model.get_input_embeddings().weight.clone()
    list(train(model, samples, TrainOptions(steps=1, batch_size=2, precision="fp32", warmup=0.0)))
    assert not torch.equal(before, model.get_input_embeddings().weight)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert blocks(again) == blocks(model)
    assert again.config.to_dict()[TERMS[row.model_type].dropout[0]] == 0.1


def test_the_parameters_are_those_of_the_papers_formulas():
    vocabulary, context, d, layers = 600, 32, 48, 5
    gpt2 = config_of("gpt2", width=d, layers=layers, heads=3, ff_width=100)
    # Per block: two norms, queries, keys and values, the output, the feed-forward layers; all with biases.
    block = 4 * d + 3 * d * (d + 1) + d * (d + 1) + 100 * (d + 1) + d * 101
    assert counted(gpt2, "causal") == (vocabulary + context) * d + layers * block + 2 * d
    llama = config_of("llama", width=d, layers=layers, heads=6, kv_heads=3, ff_width=104)
    block = 2 * d * d + 2 * d * (3 * 8) + 3 * d * 104 + 2 * d
    assert counted(llama, "causal") == vocabulary * d + layers * block + d


def test_the_feed_forward_layers_keep_their_proportion_unless_they_are_given():
    assert config_of("llama", width=384).intermediate_size == 1024  # 512 for 192
    assert config_of("opt", width=96).ffn_dim == 384
    assert config_of("llama", width=384, ff_width=640).intermediate_size == 640
    assert config_of("gpt2", width=96).n_inner is None  # four times the width by itself


def test_heads_of_keys_and_values_follow_where_each_head_has_its_own():
    assert overrides(options("llama", "2-7b", heads=16))["num_key_value_heads"] == 16
    assert "num_key_value_heads" not in overrides(options("llama", "2-70b", heads=32))


def test_falcon_has_the_block_of_7b_with_one_head_of_keys_and_values_and_that_of_40b_with_several():
    single = overrides(options("falcon", "40b", kv_heads=1))
    several = overrides(options("falcon", "tiny", kv_heads=2))
    assert (single["multi_query"], single["new_decoder_architecture"]) == (True, False)
    assert (several["multi_query"], several["new_decoder_architecture"], several["num_kv_heads"]) == (False, True, 2)
    config = config_of("falcon", kv_heads=2)
    assert counted(config, "causal") > counted(config_of("falcon"), "causal")


def test_a_head_may_have_a_width_of_its_own():
    assert config_of("t5", head_width=24).d_kv == 24
    assert config_of("qwen3", width=100, heads=8, head_width=16).head_dim == 16
    assert config_of("codegen", width=64, heads=4).rotary_dim == 16


@pytest.mark.parametrize(
    ("family", "given", "message", "mend"),
    [
        ("gpt2", {"width": 200, "heads": 3}, "a width of 200 cannot be shared out among 3 heads", "--width of 201"),
        ("llama", {"heads": 3}, "3 heads cannot be shared out among 2 heads of keys and values", "--kv-heads 1"),
        ("llama", {"width": 20}, "heads of width 5 cannot be turned", "even"),
        ("codegen", {"heads": 6}, "6 heads cannot be", "--heads 8"),
        ("bloom", {"ff_width": 100}, "bloom models have no --ff-width", "another family"),
        ("gpt2", {"kv_heads": 2}, "gpt2 models have no --kv-heads", "another family"),
        ("bert", {"head_width": 16}, "bert models have no --head-width", "another family"),
    ],
)
def test_dimensions_that_do_not_fit_together_are_refused_with_what_would(family, given, message, mend):
    with pytest.raises(ConfigError, match=message) as caught:
        overrides(options(family, **given))
    assert mend in caught.value.mend
    assert caught.value.where.startswith("architecture.")


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused():
    assert rows_of(ArchitectureOptions(), 300) == 300
    assert rows_of(ArchitectureOptions(vocab_size=320), 300) == 320
    with pytest.raises(ConfigError, match="vocabulary of 299 cannot hold the 300 tokens"):
        rows_of(ArchitectureOptions(vocab_size=299), 300)


def test_an_unknown_family_or_size_is_named():
    with pytest.raises(UsageError, match="no model family"):
        overrides(options("gtp2"))
    with pytest.raises(UsageError, match="no size"):
        overrides(options("gpt2", "125m"))
