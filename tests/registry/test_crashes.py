"""The registry under kill -9 at every step, at random, on a full disk and on a read-only one."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmkit.errors import StorageError
from llmkit.registry.artifact import Draft
from llmkit.registry.cleanup import gc
from llmkit.registry.store import Registry
from llmkit.registry.upkeep import remove, verify

STEPS = frozenset({"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "fcntl.flock", "shutil.rmtree"})


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Runs `action` in a child that is killed -9 just before its `step`-th touch of the disk; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def count_down(event: str, _: object) -> None:
            nonlocal count
            if event in STEPS:
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count_down)
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def every_kill(action: Callable[[], object]) -> Iterator[int]:
    step = 1
    while killed_at(step, action):
        yield step
        step += 1
        assert step < 1000


def is_sound(registry: Registry) -> bool:
    return registry.unreadable() == () and all(verify(artifact) == () for artifact in registry.artifacts())


def publish_two(registry: Registry, key: str) -> None:
    with registry.building() as first, registry.building() as second:
        (first / "data.txt").write_text(f"data {key}")
        (second / "deep").mkdir()
        (second / "deep" / "tokenizer.json").write_text(f"tokens {key}")
        part = registry.publish(
            first, Draft(kind="dataset", name="corpus", command="preprocess", key=key_of(key), completes=None)
        )
        registry.publish(
            second,
            Draft(
                kind="tokenizer",
                name="corpus-tokenizer",
                command="preprocess",
                key=key_of(key),
                inputs=(part.as_input("data"),),
                completes=(part.ref,),
            ),
        )


def test_a_publish_killed_at_any_step_leaves_whole_artifacts_and_no_reusable_half(registry: Registry) -> None:
    publish_two(registry, "first")
    kills = 0
    for step in every_kill(lambda: publish_two(registry, "second")):
        kills = step
        assert is_sound(registry)
        run = registry.find_by_key(key_of("second"))
        assert run is None or [artifact.kind for artifact in run] == ["dataset", "tokenizer"]
        if run is not None:  # killed between the last rename and the end
            break
        gc(registry.layout)
        assert list((registry.home / "work").iterdir()) == []
        assert list((registry.home / "locks").iterdir()) == []
    assert kills > 20
    before = registry.versions("corpus")
    publish_two(registry, "third")
    assert registry.versions("corpus") == [*before, before[-1] + 1]
    assert is_sound(registry)


def test_the_first_write_of_all_killed_at_any_step_is_made_good_by_the_next(tmp_path: Path) -> None:
    step = 0
    while True:
        step += 1
        registry = Registry(tmp_path / str(step))
        if not killed_at(step, lambda registry=registry: publish_two(registry, "first")):
            break
        publish_two(registry, "again")
        assert is_sound(registry)
        assert (registry.home / ".gitignore").read_text() == "*\n"
    assert step > 20


def test_a_removal_killed_at_any_step_is_done_or_not_done_and_gc_ends_it(registry: Registry) -> None:
    action = lambda: remove(registry.layout, "corpus", registry.versions("corpus")[-1])  # noqa: E731
    for _ in range(25):
        with registry.building() as folder:
            for name in "abc":
                (folder / name).write_text(name)
            registry.publish(folder, Draft(kind="dataset", name="corpus", command="preprocess", key=key_of("k")))
    removed = 0
    for _ in every_kill(action):
        assert is_sound(registry)
        removed = 25 - len(registry.versions("corpus"))
        gc(registry.layout)
        assert all(
            [entry.name for entry in (registry.home / "artifacts" / "corpus" / str(number)).iterdir()]
            == ["removed.json"]
            for number in range(26 - removed, 26)
        )
    assert removed > 1


def test_an_alias_killed_at_any_step_is_whole_or_not_there(registry: Registry) -> None:
    publish_two(registry, "k")
    names = {"dataset": "texts", "tokenizer": "texts-tokenizer"}
    step = 0
    while True:
        step += 1
        copy = Registry(registry.home.with_name(f"copy-{step}"))
        shutil.copytree(registry.home, copy.home)
        if not killed_at(step, lambda copy=copy: copy.reuse(key_of("k"), names)):
            break
        assert is_sound(copy)
        gc(copy.layout)
        assert list((copy.home / "work").iterdir()) == []
        aliases = copy.reuse(key_of("k"), names)
        assert aliases is not None
        assert [artifact.name for artifact in aliases] == ["texts", "texts-tokenizer"]
    assert step > 20


def test_a_tag_killed_at_any_step_points_to_the_old_version_or_the_new(registry: Registry) -> None:
    publish_two(registry, "a")
    publish_two(registry, "b")
    first, second = registry.resolve("corpus@1"), registry.resolve("corpus@2")
    registry.tag(first, "prod")
    for _ in every_kill(lambda: registry.tag(second, "prod")):
        assert registry.tags("corpus") in ({"prod": 1}, {"prod": 2})
        registry.tag(first, "prod")
    assert registry.tags("corpus") == {"prod": 2}
    gc(registry.layout)
    assert [file.name for file in (registry.home / "tags").iterdir()] == ["corpus.json"]


PUBLISH_FOR_EVER = """
import sys
from pathlib import Path
from llmkit.registry.artifact import Draft
from llmkit.registry.store import Registry

registry = Registry(Path(sys.argv[1]))
round = 0
while True:
    round += 1
    with registry.building() as folder:
        for part in range(8):
            (folder / f"part-{part}.bin").write_bytes(bytes([part]) * 50_000)
        registry.publish(folder, Draft(kind="model", name="base", command="pretrain", key="0" * 64))
    if round == 1:
        print("published", flush=True)
"""


def test_kill_9_at_random_moments_leaves_whole_artifacts_and_the_next_publish_works(registry: Registry) -> None:
    chance = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", PUBLISH_FOR_EVER, registry.home], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.random() / 20)
        process.kill()
        process.communicate()
        assert is_sound(registry)
    gc(registry.layout)
    assert list((registry.home / "work").iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_disk_that_fills_at_any_step_leaves_the_registry_as_it_was(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    publish_two(registry, "first")
    real = getattr(os, call)
    step, failures = 0, 0
    while True:
        step += 1
        count = 0

        def full(*args: object, real=real, step=step, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        before = registry.versions("corpus-tokenizer")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            try:
                publish_two(registry, f"{call} {step}")
            except StorageError as error:
                failures += 1
                assert "free space" in (error.mend or "")
        if count < step:
            break
        assert is_sound(registry)
        # After the rename there is nothing left that could undo it; before it, nothing has changed.
        if registry.find_by_key(key_of(f"{call} {step}")) is None:
            assert registry.versions("corpus-tokenizer") == before
        assert list((registry.home / "work").iterdir()) == []
    assert failures


def in_a_small_disk(script: str, folder: Path) -> None:
    """Runs Python in a mount namespace of its own, where `folder` is a disk of 1 MB."""
    mount = f"mount -t tmpfs -o size=1m,nr_inodes=4000 none '{folder}' && exec '{sys.executable}' -c \"$0\" '{folder}'"
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    probe = [*command, f"mount -t tmpfs none '{folder}'"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    preamble = """
        import subprocess, sys
        from pathlib import Path
        from llmkit.errors import StorageError
        from llmkit.registry.artifact import Draft
        from llmkit.registry.cleanup import gc
        from llmkit.registry.store import Registry
        from llmkit.registry.upkeep import remove, verify

        disk = Path(sys.argv[1])
        registry = Registry(disk / "home")

        def publish(size=100):
            with registry.building() as folder:
                (folder / "model.bin").write_bytes(b"x" * size)
                draft = Draft(kind="model", name="base", command="pretrain", key="0" * 64)
                return registry.publish(folder, draft)

        def refused(action):
            try:
                action()
            except StorageError as error:
                assert error.mend, error
                return True
            return False
    """
    whole = textwrap.dedent(preamble) + textwrap.dedent(script)
    answer = subprocess.run([*command, mount, whole], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_a_full_disk_keeps_the_old_state_and_removing_still_works(tmp_path: Path) -> None:
    script = """
        import os
        first = publish()
        registry.tag(first, "prod")
        assert refused(lambda: publish(2_000_000))
        assert registry.artifacts() == (first,)

        refusals = 0
        for blocks in range(12):
            free = os.statvfs(disk).f_bavail - blocks
            (disk / "filler").write_bytes(b"x" * 4096 * free)
            before = registry.artifacts()
            if refused(publish):
                refusals += 1
                assert registry.artifacts() == before
                assert not list((registry.home / "work").iterdir())
            assert registry.unreadable() == ()
            assert all(verify(artifact) == () for artifact in registry.artifacts())
            (disk / "filler").unlink()
        assert refusals

        last = publish()
        (disk / "filler").write_bytes(b"x" * 4096 * os.statvfs(disk).f_bavail)
        assert refused(lambda: registry.tag(last, "prod"))
        assert registry.tags("base") == {"prod": 1}
        assert registry.input_digest([Path(os.__file__)]).size > 0
        remove(registry.layout, "base", last.version)
        assert last not in registry.artifacts()
        assert gc(registry.layout) == ()
    """
    in_a_small_disk(script, tmp_path)


def test_on_a_read_only_disk_reading_works_and_writing_says_what_to_do(tmp_path: Path) -> None:
    script = """
        first = publish()
        registry.tag(first, "prod")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert registry.artifacts() == (first,)
        assert registry.resolve("base@prod") == first
        assert registry.find_by_key("0" * 64) == (first,)
        assert verify(first) == ()
        assert registry.input_digest([first.path / "model.bin"]).size == 100
        assert refused(publish)
        assert refused(lambda: registry.tag(first, "old"))
        assert refused(lambda: registry.untag("base", "prod"))
        assert refused(lambda: registry.workspace("0" * 64).__enter__())
        assert refused(lambda: registry.store("kb").__enter__())
        assert refused(lambda: remove(registry.layout, "base", 1, force=True))
        assert refused(lambda: Registry(disk / "new").building().__enter__())
    """
    in_a_small_disk(script, tmp_path)


def test_a_file_size_limit_is_reported_like_a_full_disk(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from pathlib import Path
        from llmkit.errors import StorageError
        from llmkit.registry.store import Registry

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            with Registry(Path(sys.argv[1])).building() as folder:
                (folder / "model.bin").write_bytes(b"x" * 200_000)
        except StorageError as error:
            sys.exit(0 if "free space" in error.mend else 1)
        sys.exit(2)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), tmp_path / "home"]
    assert subprocess.run(command, check=False).returncode == 0
