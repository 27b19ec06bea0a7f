from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import pytest

from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.registry.artifact import Draft, InputRef
from llmkit.registry.publish import publish_alias
from llmkit.registry.store import Registry
from llmkit.registry.upkeep import remove, verify


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


DRAFT = Draft(kind="model", name="base", command="pretrain", key=key_of("k"))


def test_a_manifest_reads_back_as_it_was_published(registry: Registry, make) -> None:
    used = InputRef(role="files", ref="./docs", digest="a" * 64)
    artifact = make(
        "corpus",
        config={"clean": {"min_chars": 10}, "paths": [Path("docs")]},
        given=("clean.min_chars",),
        inputs=[used],
        metrics={"loss": float("nan"), "n": 3},
        packages={"python": "3.11"},
        warnings=("two files skipped",),
        licence="CC-BY-4.0",
        seed=7,
        device="cpu",
        schema="text",
    )
    manifest = registry.resolve("corpus").manifest
    assert manifest == artifact.manifest
    assert manifest.config == {"clean": {"min_chars": 10}, "paths": ["docs"]}
    assert manifest.metrics == {"loss": "nan", "n": 3}
    assert manifest.inputs == (used,)
    assert manifest.ended.tzinfo == UTC
    written = json.loads((artifact.path / "manifest.json").read_text())
    assert written["schema"] == "text"
    assert written["schema_version"] == 1


def test_the_digests_are_those_of_sha256sum(make) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    artifact = make("corpus", files={"a.txt": "text", "deep/b.txt": "文書", "empty": ""})
    for name, file in artifact.manifest.files.items():
        line = subprocess.run(["sha256sum", artifact.path / name], check=True, capture_output=True, text=True).stdout
        assert line.split()[0] == file.sha256


def test_the_artifacts_digest_depends_on_names_and_contents_alone(make) -> None:
    one = make("one", files={"a": "1", "b": "2"})
    assert make("two", "model", files={"b": "2", "a": "1"}, seed=3).digest == one.digest
    assert make("three", files={"a": "2", "b": "1"}).digest != one.digest
    assert make("four", files={"a": "1", "c": "2"}).digest != one.digest


def test_a_build_that_is_not_published_leaves_nothing(registry: Registry) -> None:
    with pytest.raises(RuntimeError), registry.building() as folder:
        (folder / "x").touch()
        raise RuntimeError
    assert list((registry.home / "work").iterdir()) == []
    assert list((registry.home / "locks").iterdir()) == []
    assert registry.artifacts() == ()


def test_names_are_unique_across_kinds(registry: Registry, make) -> None:
    make("base")
    registry.check_free("base", "dataset")
    registry.check_free("other", "model")
    for attempt in (lambda: make("base", "model"), lambda: registry.check_free("base", "model")):
        with pytest.raises(UsageError, match="belongs to base@1, of kind dataset") as caught:
            attempt()
        assert "`base-model`" in (caught.value.mend or "")
    assert registry.versions("base") == [1]


def test_a_name_whose_versions_are_all_removed_is_free_for_another_kind(registry: Registry, make) -> None:
    make("base")
    remove(registry.layout, "base", 1)
    assert make("base", "model").ref == "base@2"


def test_an_illegal_name_is_refused_before_anything_is_done() -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        Draft(kind="model", name="My Model", command="pretrain", key=key_of("k"))


@pytest.mark.parametrize("content", ["nothing", "manifest", "link"])
def test_a_folder_that_cannot_be_an_artifact_is_refused(registry: Registry, content: str) -> None:
    with registry.building() as folder:
        match content:
            case "manifest":
                (folder / "manifest.json").write_text("{}")
            case "link":
                (folder / "a").symlink_to("/etc/hostname")
        with pytest.raises(ValueError, match=r"file"):
            registry.publish(folder, DRAFT)
    assert registry.artifacts() == ()


def test_an_alias_of_an_artifact_that_lost_a_file_is_not_published(registry: Registry, make) -> None:
    artifact = make("corpus")
    (artifact.path / "data.txt").unlink()
    with pytest.raises(NotFoundError) as caught:
        publish_alias(registry.layout, artifact, "texts", ())
    assert caught.value.where == str(artifact.path / "data.txt")
    assert registry.versions("texts") == []


def test_a_version_that_appears_without_the_lock_is_stepped_over(registry: Registry, make) -> None:
    """As on a file system whose locks do not reach the other machine."""
    from llmkit.registry import shelf

    make("corpus")
    known = shelf.numbers
    try:
        shelf.numbers = lambda layout, name: []
        assert make("corpus").ref == "corpus@2"
    finally:
        shelf.numbers = known
    assert [artifact.ref for artifact in registry.artifacts()] == ["corpus@1", "corpus@2"]


PUBLISHER = """
import sys
from pathlib import Path
from llmkit.registry.artifact import Draft
from llmkit.registry.store import Registry

home, who, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
registry = Registry(home)
print("ready", flush=True)
sys.stdin.readline()
for number in range(rounds):
    with registry.building() as folder:
        (folder / "who.txt").write_text(f"{who} {number}")
        artifact = registry.publish(folder, Draft(kind="model", name="base", command="pretrain", key="0" * 64))
        print(artifact.version, flush=True)
"""


def test_processes_that_publish_one_name_at_once_each_get_versions_of_their_own(registry: Registry) -> None:
    rounds, writers = 20, 4
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, registry.home, str(who), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(writers)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    # A reader beside them never sees anything but whole artifacts.
    while any(process.poll() is None for process in processes):
        seen = registry.artifacts()
        assert registry.unreadable() == ()
        assert all((artifact.path / "who.txt").exists() for artifact in seen)
    answers = [process.communicate()[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sorted(int(version) for answer in answers for version in answer) == list(range(1, rounds * writers + 1))
    for who, answer in enumerate(answers):
        texts = [(registry.resolve(f"base@{version}").path / "who.txt").read_text() for version in answer]
        assert texts == [f"{who} {number}" for number in range(rounds)]
    assert all(verify(artifact) == () for artifact in registry.artifacts())


def test_kinds_that_race_for_one_name_end_with_one_kind(registry: Registry) -> None:
    script = PUBLISHER.replace('kind="model"', "kind=sys.argv[2]")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, registry.home, kind, "20"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for kind in ("model", "dataset")
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]
    assert len({artifact.kind for artifact in registry.artifacts()}) == 1
    assert sum("UsageError" in error for error in errors) == 1


def test_published_bytes_are_the_given_bytes(registry: Registry) -> None:
    source = Path(hashlib.__file__)
    with registry.building() as folder:
        shutil.copyfile(source, folder / "hashlib.py")
        artifact = registry.publish(folder, DRAFT)
    assert (artifact.path / "hashlib.py").read_bytes() == source.read_bytes()
    assert not folder.exists()
    (artifact.path / "manifest.json").unlink()
    with pytest.raises(DataError, match="missing"):
        registry.resolve("base")
