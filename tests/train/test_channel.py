"""What the main process of a launched command and the others say to each other."""

from __future__ import annotations

import threading

import pytest
from torch.distributed import HashStore

from llmkit.errors import RunError
from llmkit.train import channel as channels
from llmkit.train.channel import Channel
from llmkit.train.launch import World


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(channels, "_VISIBLE_SECONDS", 0.3)
    monkeypatch.setattr(channels, "_ANSWER_SECONDS", 5.0)
    store = HashStore()
    return Channel(World(0, 2), store), Channel(World(1, 2), store)


def beside(work):
    """Run in a thread; returns what ends it with what it raised."""
    ended = []

    def run():
        try:
            work()
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def wait():
        thread.join(20)
        assert not thread.is_alive()
        return ended[0] if ended else None

    return wait


def test_every_job_reaches_the_other_process_and_the_end_has_the_commands_code(pair, tmp_path):
    main, other = pair
    jobs = []

    def take():
        for job in other.jobs(lambda job: None):
            jobs.append(job)  # noqa: PERF402

    wait = beside(take)
    main.call(tmp_path / "first")
    main.call(tmp_path / "second")
    main.end(4)
    error = wait()
    assert isinstance(error, SystemExit)
    assert error.code == 4
    assert jobs == [tmp_path / "first", tmp_path / "second"]


def test_files_that_another_machine_does_not_see_end_the_run_on_both_sides(pair, tmp_path):
    main, other = pair
    wait = beside(lambda: list(other.jobs(lambda job: f"{job.parent}, the main process's work directory")))
    with pytest.raises(RunError, match="number 1 cannot take part: .* does not see") as caught:
        main.call(tmp_path / "job.json")
    assert "file system that all machines share" in caught.value.mend
    assert isinstance(wait(), RunError)


def test_a_process_that_never_answers_is_told_of(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(channels, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(RunError, match="of 2 processes, number 1 did not answer"):
        pair[0].call(tmp_path / "job.json")
