import pytest
import torch
from torch import nn
from torch.nn import functional

from llmkit.models import heads
from llmkit.models.build import SpecialIds, new_config
from llmkit.models.heads import COMPILED, head_as_loss
from llmkit.models.tracing import Pass, trace


def sliced(head, states, targets, at_once, scale=1.0):
    leaf = states.clone().requires_grad_()
    head.zero_grad(set_to_none=True)
    with head_as_loss(head, lambda hidden: (hidden, targets), at_once):
        loss = head(leaf)
    (loss * scale).backward()
    return loss.detach(), leaf.grad, {name: p.grad for name, p in head.named_parameters() if p.grad is not None}


def plain(head, states, targets, scale=1.0):
    leaf = states.double().requires_grad_()
    exact = nn.Linear(head.in_features, head.out_features, bias=head.bias is not None).double()
    exact.load_state_dict({name: p.double() for name, p in head.state_dict().items()})
    loss = functional.cross_entropy(exact(leaf), targets, reduction="sum")
    (loss * scale).backward()
    return loss.detach(), leaf.grad, {name: p.grad for name, p in exact.named_parameters()}


@pytest.fixture(params=[False, True], ids=["no bias", "bias"])
def head(request):
    torch.manual_seed(0)
    return nn.Linear(24, 37, bias=request.param)


@pytest.fixture
def data():
    torch.manual_seed(1)
    return torch.randn(50, 24), torch.randint(37, (50,))


@pytest.mark.parametrize("rows", [1, 7, 50, 1000])
def test_loss_and_gradients_are_those_of_the_plain_computation(head, data, rows):
    found, expected = sliced(head, *data, rows * 37, scale=0.3), plain(head, *data, scale=0.3)
    for ours, exact in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)
    assert found[2].keys() == expected[2].keys()
    for name, gradient in found[2].items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient.double(), expected[2][name], rtol=1e-5, atol=1e-5)


def test_in_bfloat16_the_gradient_is_as_close_as_that_of_the_plain_computation_in_bfloat16(head, data):
    states, targets = data
    exact = plain(head, states, targets)
    with torch.autocast("cpu", torch.bfloat16):
        ours = sliced(head, states, targets, 7 * 37)
        leaf = states.clone().requires_grad_()
        head.zero_grad()
        functional.cross_entropy(head(leaf).float(), targets, reduction="sum").backward()
    off = (ours[2]["weight"].double() - exact[2]["weight"]).norm()
    usual = (head.weight.grad.double() - exact[2]["weight"]).norm()
    assert off <= 1.2 * usual
    assert ours[1].dtype == torch.float32


def test_rows_that_align_the_vocabulary_change_nothing(head, data, monkeypatch):
    expected = sliced(head, *data, 7 * 37)
    monkeypatch.setattr(heads, "_ALIGNMENT", {"cpu": 64})
    found = sliced(head, *data, 7 * 37)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert found[2]["weight"].shape == head.weight.shape


def test_the_form_that_is_compiled_computes_the_same(head, data, monkeypatch):
    expected = sliced(head, *data, 7 * 37)
    monkeypatch.setattr(heads, "_compiled", lambda: heads._fusible)
    setattr(head, COMPILED, True)
    torch.testing.assert_close(sliced(head, *data, 7 * 37), expected, rtol=1e-5, atol=1e-5)


def test_without_positions_the_loss_is_zero_and_every_parameter_has_a_gradient(head):
    loss, by_state, by_parameter = sliced(head, torch.zeros(0, 24), torch.zeros(0, dtype=torch.long), 100)
    assert loss == 0
    assert by_state.shape == (0, 24)
    assert by_parameter.keys() == dict(head.named_parameters()).keys()
    assert not any(gradient.any() for gradient in by_parameter.values())


def test_a_frozen_head_passes_the_gradient_on(head, data):
    expected = sliced(head, *data, 7 * 37)
    head.requires_grad_(False)
    _, by_state, by_parameter = sliced(head, *data, 7 * 37)
    assert not by_parameter
    torch.testing.assert_close(by_state, expected[1])


def test_nothing_as_large_as_all_logits_is_ever_there():
    config = new_config("gpt2", "tiny", vocab_size=20_000, ids=SpecialIds(), sequence_length=64)
    sliced, whole = (
        trace(config, "causal", Pass(8, 64, 0, 64, logits_at_once=at_once)).loss for at_once in (16 * 20_000, 10**9)
    )
    logits = 4 * 8 * 64 * 20_000
    assert sliced < logits / 2 < logits < whole


def test_the_layer_is_itself_again_afterwards(head, data):
    before = head(data[0])
    with head_as_loss(head, lambda hidden: (hidden, data[1]), 100):
        assert head(data[0]).dim() == 0
    assert torch.equal(head(data[0]), before)
