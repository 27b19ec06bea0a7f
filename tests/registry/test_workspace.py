from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmkit.errors import BusyError, StorageError
from llmkit.registry.locks import held
from llmkit.registry.store import Registry

KEY = "k" * 64


def test_a_finished_run_leaves_no_workspace(registry: Registry) -> None:
    with registry.workspace(KEY) as folder:
        assert folder == registry.home / "work" / KEY
        (folder / "step-10").mkdir()
    assert list((registry.home / "work").iterdir()) == []
    assert list((registry.home / "locks").iterdir()) == []


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_finds_its_checkpoints_again(registry: Registry, end: type[BaseException]) -> None:
    with pytest.raises(end), registry.workspace(KEY) as folder:
        (folder / "step-10").write_text("weights")
        raise end
    with registry.workspace(KEY) as folder:
        assert (folder / "step-10").read_text() == "weights"


def test_restart_throws_away_what_an_interrupted_run_left(registry: Registry) -> None:
    with pytest.raises(RuntimeError), registry.workspace(KEY) as folder:
        (folder / "step-10").touch()
        raise RuntimeError
    with registry.workspace(KEY, restart=True) as folder:
        assert list(folder.iterdir()) == []


def test_a_run_that_fails_before_it_kept_anything_leaves_nothing(registry: Registry) -> None:
    with pytest.raises(RuntimeError), registry.workspace(KEY):
        raise RuntimeError
    assert list((registry.home / "work").iterdir()) == []


HOLDER = """
import sys, time
from pathlib import Path
from llmkit.registry.store import Registry

with Registry(Path(sys.argv[1])).workspace(sys.argv[2]) as folder:
    (folder / "step-10").write_text("weights")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(registry: Registry):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, registry.home, KEY], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_the_same_run_twice_at_once_is_refused_and_names_the_holder(registry: Registry, holder) -> None:
    with pytest.raises(BusyError) as caught, registry.workspace(KEY):
        pass
    for fact in (f"process {holder.pid}", platform.node(), "since 20"):
        assert fact in caught.value.message
    with registry.workspace("o" * 64):
        pass


def test_the_work_of_a_killed_process_is_free_at_once_and_still_there(registry: Registry, holder) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with registry.workspace(KEY) as folder:
        assert (folder / "step-10").read_text() == "weights"


def test_many_threads_that_wait_for_one_lock_hold_it_one_at_a_time(tmp_path: Path) -> None:
    inside, most, rounds = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, rounds
        for _ in range(50):
            with held(tmp_path / "a.lock", what="it", wait=True):
                inside += 1
                most = max(most, inside)
                rounds += 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, rounds) == (1, 300)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_with_no_readable_signature_still_locks(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with held(lock, what="the thing", wait=False):
        lock.write_text("{")
        with pytest.raises(BusyError, match="another process"), held(lock, what="the thing", wait=False):
            pass


def test_a_cache_is_built_once_and_then_found(registry: Registry) -> None:
    builds = []

    def build(folder: Path) -> None:
        builds.append(folder)
        (folder / "train.bin").write_bytes(b"\1\2")

    for _ in range(2):
        folder = registry.cached("tokens", KEY, sources=["a" * 64], build=build)
        assert folder == registry.home / "cache" / "tokens" / KEY
        assert (folder / "train.bin").read_bytes() == b"\1\2"
    assert len(builds) == 1


def test_a_cache_whose_building_failed_is_not_there(registry: Registry) -> None:
    def build(folder: Path) -> None:
        (folder / "train.bin").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        registry.cached("tokens", KEY, sources=[], build=build)
    assert not (registry.home / "cache" / "tokens").exists()
    assert list((registry.home / "work").iterdir()) == []


def test_two_that_want_one_cache_build_it_once(registry: Registry) -> None:
    builds, found = [], []

    def build(folder: Path) -> None:
        builds.append(folder)
        (folder / "train.bin").write_bytes(b"x" * 100_000)

    def want() -> None:
        found.append((registry.cached("tokens", KEY, sources=[], build=build) / "train.bin").stat().st_size)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(builds), found) == (1, [100_000] * 4)


def test_a_store_has_one_writer_and_keeps_what_was_written(registry: Registry) -> None:
    with registry.store("kb") as folder:
        (folder / "rows.sqlite").touch()
        with pytest.raises(BusyError, match="the store of 'kb'"), registry.store("kb"):
            pass
    assert registry.store_path("kb") == folder
    assert (folder / "rows.sqlite").exists()


def test_a_disk_that_fills_in_the_middle_of_a_run_is_a_storage_error_and_keeps_the_checkpoints(
    registry: Registry,
) -> None:
    import errno

    with pytest.raises(StorageError, match="no space"), registry.workspace(KEY) as folder:
        (folder / "step-10").touch()
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (folder / "step-10").exists()


def test_an_input_that_may_not_be_read_is_not_mistaken_for_a_refused_write(registry: Registry) -> None:
    with pytest.raises(PermissionError), registry.workspace(KEY):
        raise PermissionError(13, "Permission denied", "docs/secret.txt")
