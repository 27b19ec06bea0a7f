"""Where an export is put, and which options go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmkit.errors import UsageError
from llmkit.stages.export import RECORD, ExportConfig, check_place, inputs, placed


def fill(folder: Path, text: str = "old") -> Path:
    folder.mkdir(parents=True)
    (folder / RECORD).write_text("{}")
    (folder / "model").write_text(text)
    return folder


def test_a_new_or_empty_folder_is_a_place(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "er", overwrite=False)
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty", overwrite=False)


def test_an_export_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = fill(tmp_path / "out")
    with pytest.raises(UsageError, match="has an export in it"):
        check_place(out, overwrite=False)
    check_place(out, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_no_export_made_is_never_replaced(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(UsageError, match="no export made"):
        check_place(tmp_path, overwrite=overwrite)
    with pytest.raises(UsageError, match="no folder"):
        check_place(tmp_path / "thesis.txt", overwrite=overwrite)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        check_place(tmp_path / "link", overwrite=overwrite)


def test_nothing_is_seen_before_all_of_it_is_there(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with placed(out, overwrite=False) as folder:
        (folder / "model").write_text("new")
        assert not out.exists()
        assert folder.parent == out.parent
    assert (out / "model").read_text() == "new"
    assert list(out.parent.iterdir()) == [out]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    out = fill(tmp_path / "out")
    with pytest.raises(RuntimeError), placed(out, overwrite=True) as folder:
        (folder / "model").write_text("half")
        raise RuntimeError
    assert (out / "model").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_replaced_export_is_gone_with_all_its_files(tmp_path: Path) -> None:
    out = fill(tmp_path / "out")
    with placed(out, overwrite=True) as folder:
        (folder / RECORD).write_text("{}")
    assert [path.name for path in out.iterdir()] == [RECORD]
    assert list(tmp_path.iterdir()) == [out]


def test_what_came_to_lie_there_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="no export made"), placed(out, overwrite=True) as folder:
        (folder / "model").write_text("new")
        out.mkdir()
        (out / "theirs").write_text("x")
    assert [path.name for path in out.iterdir()] == ["theirs"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "gguf", "int8": True}, "--int8 is for --to onnx"),
        ({"to": "onnx", "system": "hello"}, "--system is for --to ollama"),
        ({"to": "merged", "dtype": "q8_0"}, "--to merged has no q8_0"),
        ({"to": "onnx", "dtype": "float16"}, "--to onnx has no float16"),
        ({"to": "gguf", "name": "x"}, "no --name"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    cfg = ExportConfig.model_validate({"model": "m", "out": str(tmp_path / "out"), **options})
    with pytest.raises(UsageError, match=message):
        inputs(cfg, None)  # type: ignore[arg-type]  # it does not come to ask the registry
