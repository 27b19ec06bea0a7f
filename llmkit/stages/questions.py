"""Many questions: read from a file, answered one after the other, each handed on as soon as it is answered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from llmkit.errors import DataError, Interrupted
from llmkit.stages.base import Context

ANSWERS_FILE = "answers.jsonl"
MOST_NAMED = 3
"""Bad lines of a file of questions that are named."""


class Question(NamedTuple):
    """What is asked; `given` is what its line of the file says besides, such as an id, which its answer repeats."""

    text: str
    given: Mapping[str, Any] = {}


def read_questions(path: Path) -> list[Question]:
    """The questions of a file, in order: JSONL with `question`, else one a line.

    Raises:
        DataError: lines that are no question are named; or there is none.
    """
    found: list[Question] = []
    bad: list[int] = []
    rows = path.suffix in (".jsonl", ".ndjson")
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if line.strip():
            question = _of_row(line) if rows else Question(line.strip())
            if question is None:
                bad.append(number)
            else:
                found.append(question)
    if bad:
        more = [*map(str, bad[1:MOST_NAMED]), *(["..."] if len(bad) > MOST_NAMED else [])]
        also = f" (nor in {', '.join(more)}; {len(bad)} in all)" if more else ""
        raise DataError(f"no question in this line{also}", where=f"{path}:{bad[0]}", mend='write {"question": "..."}')
    if not found:
        raise DataError("the file has no questions", where=str(path), mend="write one a line")
    return found


def _of_row(line: str) -> Question | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if isinstance(row, str):
        row = {"question": row}
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
        return None
    return Question(row["question"], {"id": row["id"]} if "id" in row else {})


def answered(
    questions: Sequence[Question], answer: Callable[[Question], dict[str, Any]], ctx: Context
) -> list[dict[str, Any]]:
    """The answers in order, each handed to the reporter as soon as it is there.

    Raises:
        Interrupted: by Ctrl-C; what was answered has been handed on.
    """
    found: list[dict[str, Any]] = []
    with _counted(found, len(questions), "the answers so far are whole; ask the rest again"):
        for question in questions:
            said = _whole(answer(question))
            with _at_once():
                found.append(said)
                ctx.reporter.result(said)
    return found


def answered_in(
    file: Path, questions: Sequence[Question], answer: Callable[[Question], dict[str, Any]], ctx: Context
) -> tuple[list[dict[str, Any]], int]:
    """The answers in order, each kept in a file as soon as it is there, and how many an interrupted run had left there.

    Raises:
        Interrupted: by Ctrl-C; the next run goes on from what is in the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    found = _kept(file)[: len(questions)]
    before = len(found)
    with (
        ctx.reporter.progress("answering", len(questions), unit="questions", done=before) as bar,
        file.open("a", encoding="utf-8") as out,
        _counted(found, len(questions), "run the same command again: it goes on from there"),
    ):
        for question in questions[before:]:
            said = _whole(answer(question))
            with _at_once():
                found.append(said)
                out.write(json.dumps(said, ensure_ascii=False) + "\n")
                out.flush()
            bar.advance()
        os.fsync(out.fileno())
    return found, before


@contextmanager
def _at_once() -> Iterator[None]:
    """Signals wait until the block is done: an answer is handed on whole, and counted if it was."""
    from llmkit.train.interrupt import HeldSignals

    held = HeldSignals()
    with held.hold():
        yield
    held.deliver(held.counts())


def _kept(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of answers; what a killed run wrote in part is cut off it."""
    if not file.is_file():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        file.write_bytes(whole)
    return [json.loads(line) for line in whole.decode("utf-8").splitlines() if line]


def _whole(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer; one that Ctrl-C cut ends the run."""
    if answer.get("interrupted"):
        raise KeyboardInterrupt
    return answer


class _counted:  # noqa: N801  # used as a context manager only, like those of contextlib
    """Says at Ctrl-C how far it came."""

    def __init__(self, found: Sequence[object], total: int, mend: str) -> None:
        self._found, self._total, self._mend = found, total, mend

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            raise Interrupted(
                f"interrupted after {len(self._found)} of {self._total} questions", mend=self._mend
            ) from None
