"""Trackers: what TensorBoard's own reader finds in the file, and that a tracker in trouble does not end a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from llmkit.errors import UnavailableError
from llmkit.train import trackers as module
from llmkit.train.trackers import Run, Trackers, place, require


@pytest.fixture(autouse=True)
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def run(folder: Path, resumed_from: int = 0) -> Run:
    return Run("base", "base-1", folder, {"steps": 3, "lr": 1e-3}, resumed_from)


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard" / "base-1"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    trackers = Trackers(["tensorboard"], run(tmp_path))
    trackers.log(0, {"held_out/loss": 4.0})
    trackers.log(1, {"train/loss": 3.5})
    trackers.log(2, {"train/loss": 3.25, "held_out/loss": 3.0})
    trackers.close()
    assert scalars(tmp_path, "train/loss") == [(1, 3.5), (2, 3.25)]
    assert scalars(tmp_path, "held_out/loss") == [(0, 4.0), (2, 3.0)]
    events = EventAccumulator(str(tmp_path / "tensorboard" / "base-1"))
    events.Reload()
    assert b"| lr | 0.001 |" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_a_resumed_run_goes_on_in_the_same_place_and_steps_done_twice_count_once(tmp_path: Path) -> None:
    first = Trackers(["tensorboard"], run(tmp_path))
    for step in (1, 2, 3):
        first.log(step, {"train/loss": 9.0})
    first.close()
    again = Trackers(["tensorboard"], run(tmp_path, resumed_from=1))
    for step in (2, 3):
        again.log(step, {"train/loss": 2.0})
    again.close()
    assert scalars(tmp_path, "train/loss") == [(1, 9.0), (2, 2.0), (3, 2.0)]


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    require(["tensorboard"])
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="wandb is not installed") as raised:
        require(["wandb"])
    assert "llmkit[wandb]" in (raised.value.mend or "")


def test_a_folder_of_its_name_does_not_stand_for_a_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb makes a folder called wandb where it runs, which Python would import as an empty package."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = module.find_spec("wandb")
    if found is not None and found.origin is not None:
        pytest.skip("wandb is installed here")
    with pytest.raises(UnavailableError):
        require(["wandb"])


class Fake:
    """A tracker that keeps what it was told, and can break."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.said = broken, []  # type: ignore[var-annotated]

    def log(self, values: dict[str, float], step: int) -> None:
        if self.broken:
            raise OSError("disk full")
        self.said.append((step, values))

    def finish(self) -> None:
        pass


def test_a_tracker_that_breaks_is_left_out_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes: dict[str, Fake] = {"wandb": Fake(broken=True), "tensorboard": Fake()}
    monkeypatch.setattr(module, "_started", lambda name, run: fakes[name])
    trackers = Trackers(["wandb", "tensorboard"], run(tmp_path))
    trackers.log(1, {"train/loss": 2.0})
    trackers.log(2, {"train/loss": 1.0})
    assert trackers.failed == {"wandb": "OSError: disk full"}
    assert [step for step, _ in fakes["tensorboard"].said] == [1, 2]


def test_a_slow_tracker_is_told_less_often_but_every_held_out_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, now = Fake(), [100.0]
    monkeypatch.setattr(module, "_started", lambda name, run: fake)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    trackers = Trackers(["mlflow"], run(tmp_path))
    for step in range(1, 11):
        now[0] += 0.25
        trackers.log(step, {"train/loss": 1.0} | ({"held_out/loss": 2.0} if step == 7 else {}))
    assert [step for step, _ in fake.said] == [1, 5, 7]


def test_a_tracker_that_cannot_begin_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, run: Any) -> Any:
        raise RuntimeError("no key\nlong story")

    monkeypatch.setattr(module, "_started", refuse)
    with pytest.raises(UnavailableError, match="wandb cannot begin: no key$") as raised:
        Trackers(["wandb"], run(tmp_path))
    assert "offline" in (raised.value.mend or "")


def test_wandb_sends_nothing_where_the_hub_is_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "nothing was sent" in place("wandb", tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")
    assert "nothing was sent" not in place("wandb", tmp_path)
