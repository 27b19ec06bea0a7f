import errno
from pathlib import Path

import pytest

from llmkit.data.writing import new_folder
from llmkit.errors import StorageError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_a_storage_error_with_a_mend(tmp_path: Path, code: int) -> None:
    with pytest.raises(StorageError) as caught, new_folder(tmp_path / "made"):
        raise OSError(code, "refused")
    assert "nothing was lost" in str(caught.value.mend)
    assert list(tmp_path.iterdir()) == []


def test_other_failures_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "made"):
        (tmp_path / "missing").read_text()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "made") as building:
        (building / "half").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "made") as building:
        (building / "a").write_text("x")
        assert not (tmp_path / "made").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "a"]


def test_the_first_of_two_makers_wins(tmp_path: Path) -> None:
    with new_folder(tmp_path / "made") as late:
        (late / "a").write_text("late")
        with new_folder(tmp_path / "made") as early:
            (early / "a").write_text("early")
    assert (tmp_path / "made" / "a").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
