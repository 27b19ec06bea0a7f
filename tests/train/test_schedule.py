from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from llmkit.train.schedule import SCHEDULES, multiplier


def curve(name, steps, warmup=0.1, floor=0.0):
    return [multiplier(name, step, steps, warmup=warmup, floor=floor) for step in range(steps)]


@pytest.mark.parametrize(
    ("name", "theirs"), [("cosine", get_cosine_schedule_with_warmup), ("linear", get_linear_schedule_with_warmup)]
)
def test_a_schedule_is_that_of_transformers_one_step_on(name, theirs):
    """Theirs begins at zero and ends one step before zero; ours spends no step at zero and ends at the floor."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = theirs(optimizer, 100, 1000)
    expected = []
    for _ in range(1001):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert curve(name, 1000)[:99] == pytest.approx(expected[1:100])
    assert curve(name, 1000)[100:] == pytest.approx(expected[100:1000], abs=2e-3)


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.9),
    floor=st.floats(0, 1),
)
def test_a_schedule_rises_then_falls_between_floor_and_peak(name, steps, warmup, floor):
    values = curve(name, steps, warmup, floor)
    assert all(0 < value <= 1 or value == floor for value in values)
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert min(values[peak:]) >= floor - 1e-12


def test_schedules_end_where_they_say():
    assert curve("cosine", 100, floor=0.1)[-1] == pytest.approx(0.1)
    assert curve("linear", 100, floor=0.1)[-1] == pytest.approx(0.1)
    assert curve("constant", 100, floor=0.1)[-1] == 1
    wsd = curve("wsd", 1000)
    assert wsd[100:800] == [1.0] * 700
    assert wsd[-1] == pytest.approx(0)
