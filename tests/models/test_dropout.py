import pytest
import torch
from torch import nn
from torch.nn import functional

from llmkit.models.dropout import quick_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_as_many_are_dropped_and_the_rest_grows_so_that_the_mean_stays(dtype, p):
    torch.manual_seed(3)
    with quick_dropout():
        made = functional.dropout(torch.ones(999, 1001, dtype=dtype), p)
    kept = made != 0
    share = 1 - float(kept.float().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / made.numel()) ** 0.5 + 2**-16
    torch.testing.assert_close(made[kept], torch.full_like(made[kept], 1 / (1 - p)), rtol=1e-2, atol=1e-2)


def test_neighbours_fall_independently():
    torch.manual_seed(4)
    with quick_dropout():
        dropped = functional.dropout(torch.ones(2_000_000), 0.25) == 0
    for apart in (1, 2, 3, 4, 5, 8):
        both = float((dropped[:-apart] & dropped[apart:]).float().mean())
        assert abs(both - 0.0625) < 0.002


def test_the_gradient_goes_where_the_values_went():
    given = torch.randn(37, 11, requires_grad=True)
    with quick_dropout():
        made = functional.dropout(given, 0.3)
    upstream = torch.randn(made.shape)
    (gradient,) = torch.autograd.grad(made, given, upstream)
    torch.testing.assert_close(gradient, torch.where(made != 0, upstream / (1 - round(0.3 * 2**16) / 2**16), 0.0))


def test_the_same_seed_drops_the_same_and_the_next_draw_another():
    def drawn():
        return functional.dropout(torch.ones(1000), 0.5)

    with quick_dropout():
        torch.manual_seed(7)
        first, second = drawn(), drawn()
        torch.manual_seed(7)
        again = drawn()
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_what_is_not_trained_or_in_place_or_certain_is_torchs_own(monkeypatch):
    from llmkit.models import dropout as module

    seen = []
    monkeypatch.setattr(module, "_TORCHS", lambda *given: seen.append(given[1:]))
    with quick_dropout():
        functional.dropout(torch.ones(4), 0.5, training=False)
        functional.dropout(torch.ones(4), 0.5, inplace=True)
        functional.dropout(torch.ones(4), 0.0)
        functional.dropout(torch.ones(4), 1.0)
    assert [given[0] for given in seen] == [0.5, 0.5, 0.0, 1.0]


def test_modules_use_it_and_torchs_comes_back_even_after_an_error():
    before = functional.dropout
    layer = nn.Dropout(0.5)
    with pytest.raises(KeyError), quick_dropout(), quick_dropout():
        assert functional.dropout is not before
        assert layer(torch.ones(0, 5)).shape == (0, 5)
        assert layer(torch.ones(())).shape == ()
        raise KeyError
    assert functional.dropout is before
