from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.train.batches import Windows
from llmkit.train.objectives import NextToken
from llmkit.train.samples import IGNORE, Sample, permutation, samples_of_step, shares


class Numbered:
    """Samples that are only numbers, in an order of their own in each epoch."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def order(self, epoch):
        return permutation(self._count, "test", epoch)


@given(count=st.integers(1, 40), size=st.integers(1, 25), limit=st.none() | st.integers(1, 130))
def test_steps_read_every_sample_of_every_epoch_once_and_end_at_the_limit(count, size, limit):
    source = Numbered(count)
    steps = -(-(limit or 3 * count) // size)
    read = [sample for step in range(steps) for sample in samples_of_step(source, step, size, limit)]
    assert len(read) == (limit or steps * size)
    for epoch in range(len(read) // count):
        of_epoch = read[epoch * count : (epoch + 1) * count]
        assert {sample.epoch for sample in of_epoch} == {epoch}
        assert sorted(sample.number for sample in of_epoch) == list(range(count))


@given(count=st.integers(0, 40), micro=st.integers(1, 9), world=st.integers(1, 5))
def test_processes_share_a_step_without_gap_or_overlap_in_equally_many_turns(count, micro, world):
    chosen = [Sample(0, number) for number in range(count)]
    parts = [shares(chosen, micro, rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert sorted(sample for part in parts for share in part for sample in share) == chosen
    assert all(len(share) <= micro for part in parts for share in part)


def test_an_order_is_a_function_of_its_key_alone():
    assert permutation(100, 7, "order", 0).tolist() == permutation(100, 7, "order", 0).tolist()
    assert permutation(100, 7, "order", 0).tolist() != permutation(100, 7, "order", 1).tolist()
    assert permutation(100, 7, "order", 0).tolist() != permutation(100, 8, "order", 0).tolist()
    # Pinned: if this changes, runs can no longer be resumed across versions.
    assert permutation(8, 7, "order", 0).tolist() == [3, 1, 6, 4, 2, 5, 0, 7]


@given(length=st.integers(2, 200), width=st.integers(1, 16))
def test_windows_in_order_predict_every_token_but_the_first_exactly_once(length, width):
    tokens = np.arange(1000, 1000 + length)
    windows = Windows(tokens, NextToken(width), seed=0, shuffle=False)
    batch = windows.batch([Sample(0, number) for number in range(len(windows))], len(windows))
    assert batch.labels[batch.labels != IGNORE].tolist() == tokens[1:].tolist()
    shown = batch.inputs["input_ids"][batch.labels != IGNORE]
    assert shown.tolist() == tokens[:-1].tolist()


@given(length=st.integers(17, 300), epoch=st.integers(0, 5))
def test_shuffled_windows_stay_inside_the_data_and_do_not_overlap_in_an_epoch(length, epoch):
    tokens = np.arange(length)
    windows = Windows(tokens, NextToken(16), seed=5)
    batch = windows.batch([Sample(epoch, int(number)) for number in windows.order(epoch)], len(windows))
    predicted = batch.labels.flatten().tolist()
    assert IGNORE not in predicted
    assert len(set(predicted)) == len(predicted) == 16 * len(windows)
    assert len(windows) >= max(1, (length - 1) // 16 - 1)


def test_windows_begin_elsewhere_in_another_epoch():
    windows = Windows(np.arange(1000), NextToken(16), seed=5)
    starts = {int(windows.batch([Sample(epoch, 0)], 1).inputs["input_ids"][0, 0]) for epoch in range(8)}
    assert len(starts) > 3


def test_rows_beyond_the_samples_have_no_labels():
    windows = Windows(np.arange(100), NextToken(16), seed=5)
    batch = windows.batch([Sample(0, 1)], 3)
    assert batch.labels.shape == (3, 16)
    assert (batch.labels[1:] == IGNORE).all()
    assert (windows.batch([], 2).labels == IGNORE).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_windows_read_a_memory_map_of_any_integer_type(dtype, tmp_path):
    np.arange(100, dtype=dtype).tofile(tmp_path / "tokens.bin")
    windows = Windows(np.memmap(tmp_path / "tokens.bin", dtype, "r"), NextToken(16), seed=5, shuffle=False)
    assert windows.batch([Sample(0, 0)], 1).labels[0].tolist() == list(range(1, 17))
