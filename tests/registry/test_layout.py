from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from llmkit.errors import StorageError
from llmkit.registry.layout import Layout, find_home
from llmkit.registry.store import Registry


def test_the_variable_names_the_home_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / ".llmkit").mkdir()
    assert find_home({"LLMKIT_HOME": "/srv/llmkit"}, tmp_path) == Path("/srv/llmkit")
    assert find_home({"LLMKIT_HOME": "~/models"}, tmp_path) == Path.home() / "models"
    assert find_home({"LLMKIT_HOME": "here"}, tmp_path) == tmp_path / "here"


def test_without_it_the_nearest_home_upwards_is_found_and_else_a_new_one_here(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_home({"LLMKIT_HOME": ""}, deep) == deep / ".llmkit"
    (tmp_path / ".llmkit").mkdir()
    assert find_home({}, deep) == tmp_path / ".llmkit"
    (tmp_path / "a" / ".llmkit").write_text("a file is no home")
    assert find_home({}, deep) == tmp_path / ".llmkit"


def test_looking_makes_no_home_and_the_first_write_makes_a_private_one(registry: Registry) -> None:
    assert registry.artifacts() == ()
    assert registry.unreadable() == ()
    assert registry.versions("corpus") == []
    assert not registry.home.exists()
    with registry.building():
        pass
    assert registry.home.stat().st_mode & 0o777 == 0o700


def test_git_does_not_see_a_home(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    Layout(tmp_path / ".llmkit").prepare()
    (tmp_path / ".llmkit" / "cache" / "x").touch()
    status = subprocess.run(["git", "-C", tmp_path, "status", "--porcelain"], check=True, capture_output=True)
    assert status.stdout == b""


def test_a_folder_of_the_users_own_gets_no_gitignore(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    Layout(tmp_path).prepare()
    assert not (tmp_path / ".gitignore").exists()


def test_a_home_that_is_a_file_is_a_storage_error_with_a_mend(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    for home in (tmp_path / "home", tmp_path / "home" / "below"):
        with pytest.raises(StorageError) as caught:
            Layout(home).prepare()
        assert "LLMKIT_HOME" in (caught.value.mend or "")
