"""Every failure llmkit raises on purpose, with the exit code a script can branch on.

    LlmkitError
    ├── UsageError              2   a flag or an argument that cannot be
    ├── ConfigError             2   a recipe, project file, variable or --set that cannot be
    ├── NotFoundError           3   a reference, file or folder that is not there
    ├── DataError               4   input that was read and is not usable
    ├── UnavailableError        5   a package or a device this machine lacks
    ├── RunError                6   the work started and could not be finished
    │   ├── StorageError            the disk is full, read-only or refuses us
    │   └── BusyError               another process holds what this one needs
    ├── GateError               7   the work is done and did not pass its gate
    ├── Interrupted           130   Ctrl-C
    └── Terminated            143   SIGTERM

An error says *what* is wrong (`message`), *where* (`where`: a file and line, a key, a record) and what to do about it
(`mend`). Anything else that escapes is a bug: exit code 70.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

BUG_EXIT_CODE = 70


class LlmkitError(Exception):
    """Base of all deliberate failures; by itself only the edge makes one, for what was not deliberate."""

    exit_code: ClassVar[int] = BUG_EXIT_CODE
    code: ClassVar[str] = "bug"

    def __init__(self, message: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.mend = mend

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and worker processes send errors home.
        return (_rebuild, (type(self), self.message, self.where, self.mend))

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(LlmkitError):
    exit_code = 2
    code = "usage"


class ConfigError(LlmkitError):
    exit_code = 2
    code = "config"


class NotFoundError(LlmkitError):
    exit_code = 3
    code = "not_found"


class DataError(LlmkitError):
    exit_code = 4
    code = "bad_data"


class UnavailableError(LlmkitError):
    exit_code = 5
    code = "unavailable"


class RunError(LlmkitError):
    exit_code = 6
    code = "run_failed"


class StorageError(RunError):
    code = "storage"


class BusyError(RunError):
    code = "busy"


class GateError(LlmkitError):
    exit_code = 7
    code = "gate"


class Interrupted(LlmkitError):  # noqa: N818  # the user's decision, not an error of theirs
    exit_code = 130
    code = "interrupted"


class Terminated(LlmkitError):  # noqa: N818  # likewise
    exit_code = 143
    code = "terminated"


def closest(word: str, known: Iterable[str], *, most: int = 3) -> str:
    """`"; did you mean 'a' or 'b'?"` for the known words nearest to `word`, or an empty string."""
    near = get_close_matches(word, list(dict.fromkeys(known)), n=most, cutoff=0.6)
    return "; did you mean " + " or ".join(f"'{w}'" for w in near) + "?" if near else ""


def _rebuild(kind: type[LlmkitError], message: str, where: str | None, mend: str | None) -> LlmkitError:
    return kind(message, where=where, mend=mend)
