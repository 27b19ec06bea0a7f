"""What would make a run fit: each change is computed, not guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.config.planning import PlanOptions
from llmkit.models.hardware import HARDWARE, Hardware
from llmkit.models.memory import Estimator

HEADROOM = 0.08
"""Share of a device that is left free: the driver's context (about half a GiB on a GPU), the communication library, and
what the allocator cannot use between tensors."""

MOST_DEVICES = 4096
ENOUGH = 6
"""Changes that are shown."""
_SLOWER = "a third more time"
"""What recomputation costs: the forward pass once more, of one and two for the backward pass."""

Candidate = tuple[dict[str, Any], str]
"""Options to change, and what that costs."""


@dataclass(frozen=True)
class Change:
    """Options with which a run fits, and its peak in bytes then; `note` says what it costs."""

    options: dict[str, Any]
    peak: int
    note: str

    @property
    def flags(self) -> str:
        """As they are given on the command line."""
        return " ".join(_flag(name, value) for name, value in self.options.items())


def usable(hardware: Hardware) -> int:
    """Bytes of a device that a run may fill."""
    return int(hardware.memory * (1 - HEADROOM))


def changes_that_fit(estimator: Estimator, options: PlanOptions, length: int, hardware: Hardware) -> tuple[Change, ...]:
    """The changes with which the run fits, those first that change the result least."""
    found: list[Change] = []
    # More processes on one machine have no more memory.
    alone = hardware.name == "cpu"
    for alternatives in _candidates(options, most_devices=1 if alone else MOST_DEVICES):
        chosen = _first_that_fits(estimator, options, length, hardware, alternatives)
        # Where less is enough, more is not worth a line.
        if chosen and not any(change.options.items() <= chosen.options.items() for change in found):
            found.append(chosen)
        if len(found) == ENOUGH - 1:
            break
    return (*found, *_larger(estimator, options, length, hardware))


def _first_that_fits(
    estimator: Estimator, options: PlanOptions, length: int, hardware: Hardware, alternatives: Sequence[Candidate]
) -> Change | None:
    def peak(changed: dict[str, Any]) -> int:
        return estimator.memory(options.model_copy(update=changed), length).peak

    # Each takes less than the one before it: if the last is too much, so are all.
    if not alternatives or peak(alternatives[-1][0]) > usable(hardware):
        return None
    for changed, note in alternatives:
        if (needed := peak(changed)) <= usable(hardware):
            return Change(changed, needed, note)
    return None


def _candidates(options: PlanOptions, *, most_devices: int) -> Iterator[Sequence[Candidate]]:
    """Changes to try, in order; of several alternatives the first that fits is enough."""
    again: dict[str, Any] = {} if options.checkpointing else {"checkpointing": True}
    fewer = [({"micro_batch_size": rows}, "the same result, in more passes") for rows in _halves(options.rows)]
    cheap = again | ({"micro_batch_size": 1} if fewer else {})
    if again:
        yield [(again, _SLOWER)]
    yield fewer
    if again and fewer:
        yield [(again | less, f"{_SLOWER}, in more passes") for less, _ in fewer]
    if options.devices > 1:
        shared: list[dict[str, Any]] = [{"strategy": name} for name in ("zero-1", "zero-2", "fsdp")]
        yield [(way, "more communication") for way in shared if way["strategy"] != options.sharing]
        yield [(way | cheap, f"more communication, {_SLOWER}") for way in shared]
    yield [(more, "each device has a part of the model") for more in _devices(options, most_devices)]
    yield [
        (more | cheap, f"each device has a part of the model, {_SLOWER}") for more in _devices(options, most_devices)
    ]
    if options.method == "full":
        yield [({"method": "lora"} | more, "tunes an adapter; no way to pretrain") for more in ({}, cheap)]
    if options.method != "qlora":
        yield [({"method": "qlora"} | more, "tunes an adapter on weights of four bits") for more in ({}, cheap)]
    if options.optimizer == "adamw" and options.method == "full":
        yield [({"optimizer": "adafactor"} | more, "tune the learning rate anew") for more in ({}, cheap)]
    if options.precision != "bf16-weights" and options.method != "qlora":
        yield [({"precision": "bf16-weights"} | more, "small updates are rounded away") for more in ({}, cheap)]


def _devices(options: PlanOptions, most: int) -> Iterator[dict[str, Any]]:
    count = 1
    while (count := 2 * count) <= most:
        if count > options.devices:
            yield {"devices": count, "strategy": "fsdp"}


def _halves(rows: int) -> Iterator[int]:
    while rows > 1:
        rows //= 2
        yield rows


def _larger(estimator: Estimator, options: PlanOptions, length: int, hardware: Hardware) -> Iterator[Change]:
    """The smallest GPU of the table in whose memory it fits as it is."""
    peak = estimator.memory(options, length).peak
    fitting = [row for row in HARDWARE.values() if row.memory > hardware.memory and peak <= usable(row)]
    if fitting:
        smallest = min(fitting, key=lambda row: row.memory)
        yield Change({"gpu": smallest.name}, peak, f"{smallest.memory / 1024**3:.0f} GiB")


def _flag(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    return flag if value is True else f"{flag} {value}"
