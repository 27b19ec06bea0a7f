import multiprocessing
import os
import signal

import pytest

from llmkit.stages import kept_answers
from llmkit.stages.kept_answers import KeptAnswers


def doubled(requests):
    for number, request in enumerate(requests):
        yield number, request * 2


def never(requests):
    raise AssertionError(f"asked for {requests}")


def test_what_was_answered_is_not_asked_again(tmp_path):
    first = KeptAnswers(tmp_path)
    assert first.answers("double", [1, 2], doubled) == [2, 4]
    first.close()
    again = KeptAnswers(tmp_path)
    assert again.answers("double", [2, 1, 2], never) == [4, 2, 4]
    assert again.answers("double", [2, 3], doubled) == [4, 6]
    assert (again.found, again.asked) == (4, 1)


def test_another_way_of_asking_is_another_answer(tmp_path):
    kept = KeptAnswers(tmp_path)
    kept.answers("double", [1], doubled)
    with pytest.raises(AssertionError):
        kept.answers("triple", [1], never)


def _killed(folder):
    def answer(requests):
        for number, request in enumerate(requests):
            if request == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            yield number, request

    KeptAnswers(folder).answers("same", list(range(10)), answer)


def test_a_killed_process_leaves_what_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_answers, "_EVERY", -1.0)
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert KeptAnswers(tmp_path).answers("same", list(range(5)), never) == list(range(5))


def test_an_error_in_the_middle_keeps_what_came_before(tmp_path):
    def fails(requests):
        yield 0, "a"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        KeptAnswers(tmp_path).answers("x", [1, 2], fails)
    assert KeptAnswers(tmp_path).answers("x", [1], never) == ["a"]


def test_two_processes_share_a_file(tmp_path):
    one, two = KeptAnswers(tmp_path), KeptAnswers(tmp_path)
    for number in range(20):
        assert one.answers("d", [number], doubled) == two.answers("d", [number], never) == [2 * number]


@pytest.mark.parametrize("folder", [None, "/proc/nowhere"])
def test_without_a_place_it_asks_each_time(folder):
    from pathlib import Path

    kept = KeptAnswers(Path(folder) if folder else None)
    assert kept.answers("d", [1], doubled) == kept.answers("d", [1], doubled) == [2]
