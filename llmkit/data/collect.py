"""From what a user names (files, folders, globs, installed packages) to an ordered list of files worth reading."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmkit.data.globs import is_glob, matcher
from llmkit.data.python_sources import PREFIX, STDLIB_EXCLUDED, find_python_source, is_stdlib
from llmkit.data.skipping import Skip, git_ignored, skip_file, skip_folder
from llmkit.errors import DataError, NotFoundError, closest


@dataclass(frozen=True)
class SourceFile:
    """`path` is absolute; `name` is relative to the root it was found under, with `/` between its parts."""

    path: Path
    name: str
    size: int


@dataclass(frozen=True)
class Collected:
    """`files` in the order of the inputs, sorted by name within each; `skipped` counts entries by reason.

    A skipped folder counts once, whatever it holds.
    """

    files: tuple[SourceFile, ...]
    skipped: Mapping[Skip, int]

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def collect(
    inputs: Sequence[str], *, include: Sequence[str] = (), exclude: Sequence[str] = (), homes: Sequence[Path] = ()
) -> Collected:
    """Expand `inputs` into files.

    A file named outright is always taken. Of a folder, hidden files, files git ignores, likely secrets, plainly binary
    files and links that lead out of it are skipped and counted. `python:stdlib` and `python:PACKAGE` stand for the
    sources of installed modules.

    Args:
        inputs: paths, globs, or `python:` names.
        include: globs relative to the root; empty means everything.
        exclude: globs relative to the root, stronger than `include`.
        homes: folders that are never entered (llmkit's own).

    Raises:
        NotFoundError: an input that does not exist.
        DataError: nothing is left to read.
    """
    if not inputs:
        raise DataError("no input is named", mend="name files, folders, globs, or python:stdlib")
    walk = _Walk(include=include, exclude=exclude, homes=frozenset(home.resolve() for home in homes))
    files = [file for name in inputs for file in walk.expand(name)]
    if not files:
        counts = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(walk.skipped.items()))
        raise DataError(
            "no file to read" + (f" (skipped: {counts})" if counts else ": the folder is empty"),
            where=", ".join(inputs),
            mend="name a folder with text in it, or a skipped file itself",
        )
    return Collected(tuple(files), dict(walk.skipped))


@dataclass
class _Walk:
    include: Sequence[str]
    exclude: Sequence[str]
    homes: frozenset[Path]
    skipped: Counter[Skip] = field(default_factory=Counter)
    _seen: set[Path] = field(default_factory=set)

    def expand(self, name: str) -> list[SourceFile]:
        if name.startswith(PREFIX):
            return self._module(name.removeprefix(PREFIX))
        path = Path(name).expanduser()
        if path.is_dir():
            return self._folder(path.resolve(), ())
        if path.exists():
            return self._named_file(path.absolute())
        if is_glob(name):
            return self._glob(path)
        raise _missing(path)

    def _module(self, module: str) -> list[SourceFile]:
        root = find_python_source(module)
        if root.is_file():
            return self._named_file(root)
        return self._folder(root, ("*.py",), without=STDLIB_EXCLUDED if is_stdlib(module) else ())

    def _named_file(self, path: Path) -> list[SourceFile]:
        if not path.is_file():
            raise DataError("not a regular file", where=str(path), mend="name a file or a folder")
        taken = self._take(path, path.name)
        return [taken] if taken else []

    def _glob(self, pattern: Path) -> list[SourceFile]:
        parts = pattern.parts
        fixed = next(i for i, part in enumerate(parts) if is_glob(part))
        root = Path(*parts[:fixed])
        if not root.is_dir():
            raise _missing(root)
        files = self._folder(root.resolve(), ("/" + "/".join(parts[fixed:]),))
        if not files:
            raise NotFoundError(f"no readable file matches '{pattern}'", mend=f"look into '{root}' for what is there")
        return files

    def _folder(self, root: Path, only: Sequence[str], without: Sequence[str] = ()) -> list[SourceFile]:
        """The files below `root` that match `only` (if it is not empty) as well as the user's own patterns."""
        wanted, included = matcher(only or ("**",)), matcher(self.include or ("**",))
        entries = _Entries(root, matcher((*self.exclude, *without)), self.homes, self.skipped)
        found = sorted((name, path) for path, name in entries.below(root, "") if wanted(name) and included(name))
        files = []
        for name, path in found:
            reason = skip_file(path.name)
            if reason:
                self.skipped[reason] += 1
            elif taken := self._take(path, name):
                files.append(taken)
        # Links come last, so that a file is known by its own name if that is among those taken.
        for path, name in entries.linked_files():
            if wanted(name) and included(name) and not skip_file(path.name) and (taken := self._take(path, name)):
                files.append(taken)
        return files

    def _take(self, path: Path, name: str) -> SourceFile | None:
        real = path.resolve()
        if not _is_unicode(str(path)):
            self.skipped["bad_name"] += 1
            return None
        if real in self._seen:
            self.skipped["repeated"] += 1
            return None
        self._seen.add(real)
        return SourceFile(path, name, path.stat().st_size)


class _Entries:
    """The regular files below a folder, with links set aside; what is left out is counted in `skipped`."""

    def __init__(
        self, root: Path, excluded: Callable[[str], bool], homes: frozenset[Path], skipped: Counter[Skip]
    ) -> None:
        self._root = root
        self._excluded = excluded
        self._homes = homes
        self._skipped = skipped
        self._folders: set[Path] = set()
        self._links: list[tuple[Path, str]] = []
        self._ignored: set[str] = set(git_ignored(root))

    def below(self, folder: Path, prefix: str) -> Iterator[tuple[Path, str]]:
        self._folders.add(folder.resolve())
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self._skipped["unreadable"] += 1
            return
        if prefix and any(entry.name == ".git" for entry in entries):
            self._ignored |= {prefix + name for name in git_ignored(folder)}
        for entry in entries:
            name = prefix + entry.name
            path = folder / entry.name
            if reason := self._reason(entry, path, name):
                self._skipped[reason] += 1
            elif entry.is_symlink():
                self._links.append((path, name))
            elif entry.is_dir():
                yield from self.below(path, name + "/")
            else:
                yield path, name

    def linked_files(self) -> Iterator[tuple[Path, str]]:
        """The files that links within the root lead to. A folder is walked once, so that loops end."""
        while self._links:
            path, name = self._links.pop(0)
            target = path.resolve()
            if not target.is_relative_to(self._root):
                self._skipped["outside_link"] += 1
            elif target.is_file():
                yield path, name
            elif not target.is_dir():
                self._skipped["not_a_file"] += 1
            elif target in self._folders:
                self._skipped["repeated"] += 1
            else:
                yield from self.below(path, name + "/")

    def _reason(self, entry: os.DirEntry[str], path: Path, name: str) -> Skip | None:
        if self._excluded(name):
            return "excluded"
        if name in self._ignored:
            return "git_ignored"
        if entry.is_symlink():
            return None
        if entry.is_dir():
            return "home" if path in self._homes else skip_folder(entry.name)
        return None if entry.is_file() else "not_a_file"


def _is_unicode(name: str) -> bool:
    """Whether a file's name is text: on Linux it may be any bytes, and then no database or JSON file can hold it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _missing(path: Path) -> NotFoundError:
    parent = path.parent
    beside = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    return NotFoundError(
        f"'{path}' does not exist{closest(path.name, beside)}",
        mend="check the path; a relative one starts at the current directory",
    )
