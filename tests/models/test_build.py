from __future__ import annotations

import pytest
import torch

from llmkit.errors import ConfigError, UsageError
from llmkit.models.build import AUTO_CLASSES, SpecialIds, adopt_ids, new_model
from llmkit.models.families import family

IDS = SpecialIds(pad=1, eos=0, bos=0, mask=2, cls=3, sep=4)
SMALL = {"n_embd": 16, "n_layer": 1, "n_head": 2}


def gpt2(**changed):
    return new_model(
        "gpt2",
        "tiny",
        **{"vocab_size": 300, "ids": IDS, "sequence_length": 16, "seed": 0, "overrides": SMALL} | changed,
    )


def test_a_model_is_the_same_for_the_same_seed_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = gpt2(), gpt2(), gpt2(seed=1)
    assert torch.equal(torch.rand(3), expected)
    weights = [model.transformer.h[0].attn.c_attn.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_model_is_sized_to_its_tokenizer_and_its_sequence_length():
    model = gpt2()
    assert model.get_input_embeddings().weight.shape == (300, 16)
    assert model.config.max_position_embeddings == 16
    assert (model.config.eos_token_id, model.config.pad_token_id) == (0, 1)


def test_a_pad_token_that_is_the_eos_does_not_freeze_the_eos_embedding():
    model = new_model(
        "llama", "tiny", vocab_size=300, ids=SpecialIds(pad=7, eos=7), sequence_length=16, seed=0,
        overrides={"hidden_size": 32, "num_hidden_layers": 1},
    )  # fmt: skip
    model(input_ids=torch.tensor([[7, 8]])).logits.sum().backward()
    assert model.get_input_embeddings().weight.grad[7].abs().sum() > 0


def test_a_sequence_past_the_context_is_refused():
    with pytest.raises(UsageError, match="past the context"):
        gpt2(sequence_length=4096)


def test_an_override_that_the_architecture_lacks_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'n_layer'"):
        gpt2(overrides={"n_layers": 2})


def test_dimensions_that_do_not_fit_together_are_a_config_error():
    with pytest.raises(ConfigError, match="cannot be built"):
        gpt2(overrides={"n_embd": 10, "n_head": 3})


def test_an_encoder_decoder_needs_a_pad_token():
    with pytest.raises(ConfigError, match="pad token"):
        new_model("t5", "tiny", vocab_size=300, ids=SpecialIds(eos=0), sequence_length=16, seed=0)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_model_that_is_there_goes_by_another_tokenizers_ids(name, small_model, tmp_path):
    model, row = small_model(name), family(name)
    adopt_ids(model, row, SpecialIds(bos=40, eos=41, pad=42))
    model(input_ids=torch.tensor([[1, 42]]), labels=torch.tensor([[5, 6]])).loss.backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient[1].abs().sum() > 0  # the pad token of before
    model.save_pretrained(tmp_path)
    again = AUTO_CLASSES[row.objective].from_pretrained(tmp_path)
    for kept in (again.config, again.generation_config):
        assert (kept.bos_token_id, kept.eos_token_id, kept.pad_token_id) == (40, 41, 42)
    if name == "t5":
        assert again.config.decoder_start_token_id == 42
    else:
        assert again.get_input_embeddings().padding_idx == 42
        adopt_ids(model, row, SpecialIds(bos=40, eos=41, pad=41))
        assert model.get_input_embeddings().padding_idx is None  # else the end of text would not be learned
