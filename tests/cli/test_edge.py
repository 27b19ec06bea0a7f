"""Every exception becomes a message, a hint and the documented exit code."""

from __future__ import annotations

import errno
import json

import pytest

from llmkit import errors
from llmkit.cli.edge import guarded


def raising(error: BaseException) -> int:
    def work() -> int:
        raise error

    return guarded(work, as_json=False, debug=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.ConfigError("x"), 2),
        (errors.NotFoundError("x"), 3),
        (errors.DataError("x"), 4),
        (errors.UnavailableError("x"), 5),
        (errors.RunError("x"), 6),
        (errors.StorageError("x"), 6),
        (errors.BusyError("x"), 6),
        (errors.GateError("x"), 7),
        (errors.Interrupted("x"), 130),
        (errors.Terminated("x"), 143),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device"), 6),
        (OSError(errno.EROFS, "Read-only file system"), 6),
        (MemoryError(), 6),
        (ZeroDivisionError("division by zero"), 70),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert raising(error) == code


def test_a_message_says_what_where_and_how_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    raising(errors.DataError("row has no text", where="a.jsonl:7", mend="add a `text` key"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: a.jsonl:7: row has no text" in shown.err
    assert "hint: add a `text` key" in shown.err
    assert "Traceback" not in shown.err


def test_a_stack_trace_is_shown_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        return 1 // 0

    assert guarded(work, as_json=False, debug=False) == 70
    assert "Traceback" not in capsys.readouterr().err
    assert guarded(work, as_json=False, debug=True) == 70
    assert "Traceback" in capsys.readouterr().err


def test_with_json_a_failure_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise errors.NotFoundError("no kb", where="registry", mend="make it")

    assert guarded(work, as_json=True, debug=False) == 3
    body = json.loads(capsys.readouterr().out)
    assert body == {"error": {"code": "not_found", "message": "no kb", "where": "registry", "mend": "make it"}}


def test_errors_travel_between_processes_whole() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(errors.DataError("x", where="w", mend="m")))
    assert (type(error), error.message, error.where, error.mend) == (errors.DataError, "x", "w", "m")


def test_the_closest_words_are_offered() -> None:
    assert errors.closest("stepz", ["steps", "size", "steps"]) == "; did you mean 'steps'?"
    assert errors.closest("qqq", ["steps"]) == ""
