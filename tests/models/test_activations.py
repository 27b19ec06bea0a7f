import copy

import pytest
import torch

from llmkit.models.activations import use_torchs_gelu
from llmkit.models.build import SpecialIds, new_model


@pytest.mark.parametrize(
    ("name", "overrides"), [("gpt2", {"activation_function": "gelu_new"}), ("bloom", {}), ("codegen", {})]
)
def test_a_model_computes_the_same_with_torchs_kernels(name, overrides):
    model = new_model(name, "tiny", vocab_size=100, ids=SpecialIds(), sequence_length=16, seed=0, overrides=overrides)
    swift = copy.deepcopy(model)
    use_torchs_gelu(swift)
    ids = torch.arange(32).reshape(2, 16)
    torch.testing.assert_close(swift(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    assert swift.state_dict().keys() == model.state_dict().keys()
    assert swift.config.to_dict() == model.config.to_dict()
    changed = {type(part).__name__ for part in model.modules()} - {type(part).__name__ for part in swift.modules()}
    assert changed  # otherwise this family needs no kernel, and no place in this test
