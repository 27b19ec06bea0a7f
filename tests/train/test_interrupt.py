"""Signals that wait until the state is whole."""

from __future__ import annotations

import signal

import pytest

from llmkit.train import interrupt
from llmkit.train.interrupt import HeldSignals


@pytest.fixture(autouse=True)
def _raising():
    def stop(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_signal_that_launcher_and_scheduler_both_send_is_held_as_one():
    held = HeldSignals()
    with pytest.raises(SystemExit, match="143"), held.hold():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert held.counts() == [0.0, 1.0]
        held.deliver(held.counts())


def test_a_second_signal_acts_at_once(monkeypatch):
    monkeypatch.setattr(interrupt, "_SAME_SIGNAL_SECONDS", 0.0)
    held = HeldSignals()
    reached = False
    with pytest.raises(SystemExit), held.hold():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        reached = True
    assert not reached


def test_what_is_held_already_stays_held_when_an_inner_block_ends():
    held = HeldSignals()
    with held.hold():
        with held.hold():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert held.counts() == [0.0, 1.0]
    with pytest.raises(SystemExit):
        held.deliver(held.counts())
