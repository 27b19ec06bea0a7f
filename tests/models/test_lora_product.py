import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from llmkit.models.lora_product import _Adapted, fuse_updates


class Small(nn.Module):
    def __init__(self, kind, bias=True):
        super().__init__()
        self.first = Conv1D(24, 16) if kind == "conv1d" else nn.Linear(16, 24, bias=bias)
        self.second = nn.Linear(24, 8, bias=bias)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture
def products(monkeypatch):
    """How often our own product ran."""
    ran = []
    apply = _Adapted.apply
    monkeypatch.setattr(_Adapted, "apply", lambda *given: ran.append(1) or apply(*given))
    return ran


def adapted(kind="linear", bias=True, *, seed=0, **more):
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["first", "second"], fan_in_fan_out=kind == "conv1d", **more)
    model = get_peft_model(Small(kind, bias), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def outcome(model, x):
    x = x.clone().requires_grad_()
    out = model(x)
    out.float().square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return out.detach(), x.grad, gradients


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rslora", [True, False])
def test_outputs_and_gradients_are_pefts(products, kind, bias, rslora):
    model = adapted(kind, bias, use_rslora=rslora).double()
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    expected = outcome(model, x)
    assert not products
    fuse_updates(model)
    fuse_updates(model)
    found = outcome(model, x)
    assert len(products) == 2
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert found[2].keys() == expected[2].keys()


def test_under_autocast_it_is_no_less_exact_than_peft():
    model = adapted()
    x = torch.randn(64, 16)
    right = outcome(model.double(), x.double())
    model = model.float()
    with torch.autocast("cpu", torch.bfloat16):
        usual = outcome(model, x)
        fuse_updates(model)
        found = outcome(model, x)
    for ours, theirs, exact in ((found[0], usual[0], right[0]), (found[1], usual[1], right[1])):
        assert (ours - exact).norm() < 1.5 * (theirs - exact).norm()
    for name, exact in right[2].items():
        assert found[2][name].dtype == torch.float32
        assert (found[2][name] - exact).norm() < 1.5 * (usual[2][name] - exact).norm()


def test_an_input_that_learns_nothing_gets_no_gradient():
    model = adapted().double()
    fuse_updates(model)
    x = torch.randn(2, 16, dtype=torch.float64)
    model(x).sum().backward()
    assert x.grad is None


def test_switched_off_merged_or_of_another_kind_it_is_pefts_own(products):
    x = torch.randn(2, 16)
    plain = adapted()
    fuse_updates(plain)
    with plain.disable_adapter():
        off = plain(x)
    torch.testing.assert_close(
        off, plain.get_base_model().second.base_layer(torch.tanh(plain.get_base_model().first.base_layer(x)))
    )
    for other in (adapted(use_dora=True), adapted(lora_dropout=0.5)):
        fuse_updates(other)
        other.train()
        other(x)
    assert not products
    before = plain(x)
    assert len(products) == 2
    plain.merge_adapter()
    torch.testing.assert_close(plain(x), before, rtol=1e-4, atol=1e-4)
    assert len(products) == 2


def test_dropout_that_is_not_at_work_does_not_matter(products):
    model = adapted(lora_dropout=0.5)
    fuse_updates(model)
    model.eval()
    model(torch.randn(2, 16))
    assert len(products) == 2
