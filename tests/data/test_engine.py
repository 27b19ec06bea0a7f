import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmkit.data.engine import ordered_map
from llmkit.errors import DataError


def double(number: int) -> int:
    return 2 * number


def slow_when_even(number: int) -> int:
    time.sleep(0.02 if number % 2 == 0 else 0)
    return number


def die_at_seven(number: int) -> str:
    if number == 7:
        os.kill(os.getpid(), signal.SIGSEGV)
    return f"ok {number}"


def lost(number: int, why: str) -> str:
    return f"lost {number}: {why}"


def fail_at_three(number: int) -> int:
    if number == 3:
        raise DataError("three is bad", where="here", mend="use four")
    return number


def big(number: int) -> bytes:
    return bytes([number % 256]) * 3_000_000


def never(number: int, why: str) -> int:
    raise AssertionError(why)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order_for_any_number_of_workers(workers: int) -> None:
    assert list(ordered_map(slow_when_even, range(30), workers=workers, lost=never, batch=3)) == list(range(30))


def test_nothing_to_do_is_done() -> None:
    assert list(ordered_map(double, [], workers=2, lost=never)) == []


def test_a_crash_costs_the_one_item_that_caused_it() -> None:
    results = list(ordered_map(die_at_seven, range(20), workers=2, lost=lost, batch=4))
    assert results[7] == "lost 7: the process was ended by SIGSEGV"
    assert [result for n, result in enumerate(results) if n != 7] == [f"ok {n}" for n in range(20) if n != 7]


def test_an_exception_comes_home_with_the_workers_trace() -> None:
    with pytest.raises(DataError, match="three is bad") as caught:
        list(ordered_map(fail_at_three, range(9), workers=2, lost=never))
    assert caught.value.mend == "use four"


def test_items_are_read_only_a_little_ahead() -> None:
    taken = []

    def items() -> "object":
        for number in range(10_000):
            taken.append(number)
            yield number

    results = ordered_map(big, items(), workers=2, lost=never, batch=1)  # type: ignore[arg-type]
    assert len(next(results)) == 3_000_000
    assert len(taken) <= 16
    results.close()


SCRIPT = """
import sys, time
sys.path.insert(0, {folder!r})
import sleepers
from llmkit.data.engine import ordered_map
if __name__ == "__main__":
    list(ordered_map(sleepers.sleep, range(4), workers=2, lost=sleepers.lost, batch=1))
"""
SLEEPERS = """
import os, sys, time, pathlib
def sleep(number):
    pathlib.Path({folder!r}, f"pid{{number}}").write_text(str(os.getpid()))
    time.sleep(600)
def lost(number, why):
    return why
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends the children")
def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleepers.py").write_text(SLEEPERS.format(folder=str(tmp_path)))
    (tmp_path / "main.py").write_text(SCRIPT.format(folder=str(tmp_path)))
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")])
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("pid*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = [int(path.read_text() or 0) for path in tmp_path.glob("pid*")]
    parent.kill()
    parent.wait()
    assert len(children) == 2
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, children))


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
