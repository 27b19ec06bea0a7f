"""Signals that wait: Ctrl-C and SIGTERM take effect between two steps, when the state is whole."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_SIGNAL_SECONDS = 1.0


class HeldSignals:
    """Remembers signals that arrive inside `hold()`. A second one of a kind is not held: it acts at once.

    Schedulers signal a launcher and its processes, and the launcher then passes its signal on: what follows within
    moments is the same signal.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, float] = {}
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def hold(self) -> Iterator[None]:
        # Only the main thread ever sees signals; and what is held already is held until the outer block ends.
        if self._before or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

        def remember(number: int, frame: FrameType | None) -> None:
            first = self._arrived.setdefault(number, time.monotonic())
            if time.monotonic() - first > _SAME_SIGNAL_SECONDS:
                signal.signal(number, self._before[signal.Signals(number)])
                signal.raise_signal(number)

        for number in SIGNALS:
            signal.signal(number, remember)
        try:
            yield
        finally:
            self._restore()

    def counts(self) -> list[float]:
        """1.0 for each of `SIGNALS` that is waiting, in their order; sums of it over processes tell who waits."""
        return [float(number in self._arrived) for number in SIGNALS]

    def deliver(self, counts: list[float]) -> None:
        """Let the signals with a positive count, here or in another process, do now what they would have done."""
        self._arrived.clear()
        self._restore()
        for number, count in zip(SIGNALS, counts, strict=True):
            if count:
                signal.raise_signal(number)

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
