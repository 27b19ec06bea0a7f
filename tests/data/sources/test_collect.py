import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from llmkit.data.drops import Drop
from llmkit.data.sources.collect import Collected, SourceFile, collect, kind_of_input
from llmkit.errors import DataError, NotFoundError


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}", encoding="utf-8")


def names(collected: Collected) -> list[str]:
    return [file.name for file in collected.files]


def test_a_folder_gives_its_files_sorted_by_name_relative_to_it(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a/z.md", "a.txt", "a/b/c.py")
    collected = collect([str(tmp_path)])
    assert names(collected) == ["a.txt", "a/b/c.py", "a/z.md", "b.txt"]
    assert all(file.path == tmp_path / file.name for file in collected.files)
    assert collected.skipped == {}


def test_hidden_secret_binary_and_generated_entries_are_skipped_and_counted(tmp_path: Path) -> None:
    make(tmp_path, "ok.txt", ".hidden/x.txt", ".rc", ".env", "deploy.pem", "id_rsa", "pic.PNG", "__pycache__/m.pyc")
    make(tmp_path, ".llmkit/registry/x.txt")
    collected = collect([str(tmp_path)])
    assert names(collected) == ["ok.txt"]
    assert collected.skipped == {"hidden": 3, "secret": 3, "binary": 1, "generated": 1}


def test_a_file_named_outright_is_taken_whatever_it_is(tmp_path: Path) -> None:
    make(tmp_path, ".env", "pic.png")
    assert names(collect([str(tmp_path / ".env"), str(tmp_path / "pic.png")])) == [".env", "pic.png"]


def test_what_git_ignores_is_skipped_in_nested_repositories_too(tmp_path: Path) -> None:
    make(tmp_path, "kept.txt", "build/out.txt", "x.log", "sub/kept.txt", "sub/junk.tmp")
    for repo, ignored in ((tmp_path, "build\n*.log\n"), (tmp_path / "sub", "*.tmp\n")):
        subprocess.run(["git", "init", "-q", str(repo)], check=True)
        (repo / ".gitignore").write_text(ignored)
    collected = collect([str(tmp_path)])
    assert names(collected) == ["kept.txt", "sub/kept.txt"]
    assert collected.skipped["git_ignored"] == 3
    assert names(collect([str(tmp_path / "build")])) == ["out.txt"], "an ignored folder named on purpose is read"


def test_a_repository_cannot_make_git_run_a_program(tmp_path: Path) -> None:
    make(tmp_path, "kept.txt")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    subprocess.run(["git", "-C", str(tmp_path), "config", "core.fsmonitor", str(script)], check=True)
    collect([str(tmp_path)])
    assert not (tmp_path / "ran").exists()


def test_links_are_followed_inside_the_folder_and_not_out_of_it(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    make(root, "real.txt", ".data/mounted.txt", "folder/x.txt")
    make(outside, "private.txt")
    (root / "a_link.txt").symlink_to(root / "real.txt")
    (root / "mounted.txt").symlink_to(root / ".data" / "mounted.txt")
    (root / "out.txt").symlink_to(outside / "private.txt")
    (root / "out").symlink_to(outside)
    (root / "folder" / "loop").symlink_to(root)
    (root / "broken").symlink_to(root / "nothing")
    collected = collect([str(root)])
    assert names(collected) == ["folder/x.txt", "real.txt", "mounted.txt"]
    assert collected.skipped == {"hidden": 1, "outside_link": 2, "repeated": 2, "not_a_file": 1}


def test_a_pipe_in_the_folder_does_not_hang(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe")
    assert collect([str(tmp_path)]).skipped == {"not_a_file": 1}
    with pytest.raises(DataError, match="not a regular file"):
        collect([str(tmp_path / "pipe")])


def test_include_and_exclude_are_globs_from_the_root(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "docs/b.md", "docs/c.txt", "docs/old/d.md", "src/e.py")
    assert names(collect([str(tmp_path)], include=["*.md"])) == ["a.md", "docs/b.md", "docs/old/d.md"]
    assert names(collect([str(tmp_path)], include=["/*.md", "src"])) == ["a.md", "src/e.py"]
    assert names(collect([str(tmp_path)], include=["docs/**"], exclude=["docs/old", "*.txt"])) == ["docs/b.md"]
    assert names(collect([str(tmp_path)], include=["docs/*/d.md"])) == ["docs/old/d.md"]


def test_a_glob_is_expanded_by_us_if_the_shell_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.md", "b.md", "c.txt", "sub/d.md", ".secret/e.md")
    monkeypatch.chdir(tmp_path)
    assert names(collect(["*.md"])) == ["a.md", "b.md"]
    assert names(collect(["**/*.md"])) == ["a.md", "b.md", "sub/d.md"]
    assert names(collect([f"{tmp_path}/s*/d.md"])) == ["sub/d.md"]
    with pytest.raises(NotFoundError, match=r"no readable file matches '\*.rst'"):
        collect(["*.rst"])


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt")
    collected = collect([str(tmp_path / "b.txt"), str(tmp_path)])
    assert names(collected) == ["b.txt", "a.txt"]
    assert collected.skipped == {"repeated": 1}


def test_homes_are_never_entered(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "myhome/b.txt")
    assert names(collect([str(tmp_path)], homes=[tmp_path / "myhome"])) == ["a.txt"]


def test_a_missing_path_names_the_nearest_one(tmp_path: Path) -> None:
    make(tmp_path, "manual.txt")
    with pytest.raises(NotFoundError, match=r"did you mean 'manual.txt'\?"):
        collect([str(tmp_path / "manaul.txt")])


def test_a_folder_with_nothing_to_read_says_what_was_skipped(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder is empty"):
        collect([str(tmp_path)])
    make(tmp_path, ".hidden", "a.png")
    with pytest.raises(DataError, match="1 binary, 1 hidden"):
        collect([str(tmp_path)])
    with pytest.raises(DataError, match="no input"):
        collect([])


def test_a_name_that_is_no_text_is_skipped(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.txt")).write_text("x")
    assert collect([str(tmp_path)]).skipped == {"bad_name": 1}


def test_the_standard_library_is_found_without_its_tests() -> None:
    found = collect(["python:stdlib"], include=["json/**", "/shutil.py", "test/**"])
    assert names(found) == ["json/__init__.py", "json/decoder.py", "json/encoder.py", "json/scanner.py", "json/tool.py",
                            "shutil.py"]  # fmt: skip
    assert found.files[-1].path == Path(sysconfig.get_path("stdlib")).resolve() / "shutil.py"


def test_packages_and_modules_are_found_without_importing_them() -> None:
    import sys

    assert "turtledemo" not in sys.modules
    assert "__init__.py" in names(collect(["python:turtledemo"]))
    assert names(collect(["python:xml.dom.minidom"])) == ["minidom.py"]
    assert "turtledemo" not in sys.modules
    assert "xml.dom.minidom" not in sys.modules or sys.modules["xml.dom.minidom"]


@pytest.mark.parametrize(("name", "message"), [("jsom", "did you mean 'json'"), ("sys", "no Python source")])
def test_a_module_that_cannot_be_read_is_not_found(name: str, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        collect([f"python:{name}"])


def test_what_was_fetched_takes_the_place_of_its_input_in_order(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "copy", "other", "z.txt")
    page = SourceFile(tmp_path / "copy", "example.org/x", 1, source="https://example.org/x", meta={"licence": "CC0"})
    other = SourceFile(tmp_path / "other", "stdin", 2, source="stdin:")
    found = {"https://example.org/feed": [page, other], "-": [other]}
    drops = [Drop("https://example.org/y", "collect", "http_404", "not found")]
    inputs = [str(tmp_path / "z.txt"), "https://example.org/feed", "-", str(tmp_path / "a.txt")]
    collected = collect(inputs, include=["*.txt"], found=found, drops=drops)
    assert names(collected) == ["z.txt", "example.org/x", "stdin", "a.txt"]
    assert collected.files[1] is page
    assert collected.skipped == {"repeated": 1}
    assert list(collected.drops) == drops


def test_one_folder_may_be_several_parts_of_a_dataset(tmp_path: Path) -> None:
    parts = [SourceFile(tmp_path, s, 1, source=f"corpus@1#{s}", form="dataset") for s in ("train", "test")]
    assert collect(["corpus"], found={"corpus": parts}).files == tuple(parts)


def test_nothing_fetched_says_why() -> None:
    drops = [Drop("https://example.org/y", "collect", "http_404", "the server says 404")]
    with pytest.raises(DataError, match="1 could not be fetched, 'https://example.org/y' because: the server says 404"):
        collect(["https://example.org/y"], found={"https://example.org/y": []}, drops=drops)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-", "stdin"),
        ("https://example.org/a", "web"),
        ("HTTP://example.org", "web"),
        ("python:json", "python"),
        ("hf:org/name@main:train", "hub"),
        ("corpus", "registry"),
        ("corpus@3", "registry"),
        ("./corpus", "path"),
        ("org/name", "path"),
        ("*.md", "path"),
        ("日本語", "path"),
        ("x" * 5000, "path"),
        ("a\0b", "path"),
    ],
)
def test_the_kind_of_an_input_is_known_by_its_spelling(text: str, kind: str) -> None:
    assert kind_of_input(text) == kind


def test_a_path_that_exists_comes_before_other_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "corpus", "hf:name")
    monkeypatch.chdir(tmp_path)
    assert kind_of_input("corpus") == kind_of_input("hf:name") == "path"
