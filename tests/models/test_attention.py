import pytest
import torch
from torch.nn import functional

from llmkit.models import attention as module
from llmkit.models.attention import LONGEST, short_attention

FUSED = functional.scaled_dot_product_attention


@pytest.fixture
def fused_calls(monkeypatch):
    """Lengths of what went to torch's own attention."""
    seen = []

    def counted(query, *args, **kwargs):
        seen.append(query.shape[-2])
        return FUSED(query, *args, **kwargs)

    monkeypatch.setattr(module, "_FUSED", counted)
    return seen


def made(rows=2, heads=6, kv_heads=6, length=33, width=16):
    torch.manual_seed(length)
    shapes = [(rows, heads, length, width), (rows, kv_heads, length, width), (rows, kv_heads, length, width)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def with_gradients(tensors, **given):
    result = functional.scaled_dot_product_attention(*tensors, **given)
    torch.manual_seed(9)
    gradients = torch.autograd.grad(result, tensors, torch.randn(result.shape).to(result.dtype))
    return [part.detach().double() for part in (result, *gradients)]


def exact(tensors, **given):
    return with_gradients([tensor.detach().double().requires_grad_() for tensor in tensors], **given)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [6, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_results_and_gradients_are_those_of_torch(fused_calls, causal, kv_heads, scale):
    tensors = made(kv_heads=kv_heads)
    given = {"is_causal": causal, "scale": scale, "enable_gqa": kv_heads != 6}
    expected = exact(tensors, **given)
    with short_attention():
        found = with_gradients(tensors, **given)
    assert not fused_calls
    for ours, right in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-4)


def test_under_autocast_it_computes_in_bfloat16_about_as_exactly_as_torch(fused_calls):
    tensors = made(length=200)
    expected = exact(tensors, is_causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        usual = with_gradients(tensors, is_causal=True)
        with short_attention():
            found = with_gradients(tensors, is_causal=True)
    assert not fused_calls
    for ours, theirs, right in zip(found, usual, expected, strict=True):
        assert (ours - right).norm() < 3 * (theirs - right).norm()


def test_what_is_long_or_goes_on_from_a_cache_is_left_to_torch(fused_calls):
    longest = LONGEST[torch.float32]
    with short_attention():
        functional.scaled_dot_product_attention(*made(length=longest + 1), is_causal=True)
        functional.scaled_dot_product_attention(made(length=1)[0], *made()[1:])
        functional.scaled_dot_product_attention(*made(length=longest), is_causal=True)
    assert fused_calls == [longest + 1, 1]


def test_dropout_drops_and_keeps_the_mean():
    query, key, _ = made(rows=64, heads=1, kv_heads=1)
    value = torch.ones(64, 1, 33, 16)
    with short_attention():
        dropped = functional.scaled_dot_product_attention(query, key, value, dropout_p=0.5, is_causal=True)
        assert torch.equal(
            functional.scaled_dot_product_attention(query, key, value, is_causal=True).round(decimals=4), value
        )
    assert abs(dropped.mean().item() - 1.0) < 0.05
    assert dropped.std() > 0.1


def test_afterwards_torch_is_itself_again():
    with short_attention(), short_attention():
        pass
    assert functional.scaled_dot_product_attention is FUSED


@pytest.mark.parametrize("kv_heads", [6, 2])
@pytest.mark.parametrize("shape", [(2, 1, 1, 33), (2, 1, 33, 33), (2, 6, 33, 33)])
@pytest.mark.parametrize("boolean", [True, False])
def test_a_mask_hides_what_it_hides_from_torch(fused_calls, kv_heads, shape, boolean):
    tensors = made(kv_heads=kv_heads)
    torch.manual_seed(1)
    mask = torch.rand(shape) < 0.7
    mask[..., 0] = True
    if not boolean:
        mask = torch.where(mask, torch.randn(shape), float("-inf"))
    given = {"attn_mask": mask, "enable_gqa": kv_heads != 6}
    expected = exact(tensors, **{**given, "attn_mask": mask if boolean else mask.double()})
    with short_attention():
        found = with_gradients(tensors, **given)
    assert not fused_calls
    for ours, right in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-4)


def test_a_row_that_sees_nothing_is_still_a_number():
    tensors = made()
    with short_attention():
        result = functional.scaled_dot_product_attention(
            *tensors, attn_mask=torch.zeros(2, 1, 33, 33, dtype=torch.bool)
        )
    assert torch.isfinite(result).all()


def test_a_mask_that_is_learned_goes_to_torch(fused_calls):
    with short_attention():
        functional.scaled_dot_product_attention(*made(), attn_mask=torch.zeros(2, 1, 33, 33, requires_grad=True))
    assert fused_calls == [33]
