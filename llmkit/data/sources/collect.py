"""From what a user names (files, folders, globs, installed packages) to an ordered list of files worth reading."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmkit.data.drops import Drop
from llmkit.data.sources.globs import is_glob, matcher
from llmkit.data.sources.python_sources import PREFIX, STDLIB_EXCLUDED, find_python_source, is_stdlib
from llmkit.data.sources.skipping import Skip, git_ignored, skip_file, skip_folder
from llmkit.errors import ConfigError, DataError, NotFoundError, UsageError, closest
from llmkit.registry.refs import RegistryRef, parse_input

Kind = Literal["path", "python", "web", "stdin", "hub", "registry"]
"""What sort of thing an input names; see `kind_of_input`."""


@dataclass(frozen=True)
class SourceFile:
    """A file to read.

    Attributes:
        path: absolute; where the bytes are.
        name: relative to the root it was found under, with `/` between its parts.
        size: bytes.
        source: what is recorded in place of the path, where the file is only a copy: a URL, `stdin:`,
            `hf:org/name#split`. Empty: the path.
        meta: facts that join the meta of each document read from it (retrieval time, licence), JSON-serialisable.
        form: `dataset` where `path` is the folder of a dataset artifact.
    """

    path: Path
    name: str
    size: int
    source: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)
    form: Literal["file", "dataset"] = "file"


_EXAMPLES = 5


@dataclass(frozen=True)
class Collected:
    """`files` in the order of the inputs, sorted by name within each; `skipped` counts entries by reason.

    A skipped folder counts once, whatever it holds; `examples` names the first of each reason. `drops` are what was
    named and could not be had: web pages.
    """

    files: tuple[SourceFile, ...]
    skipped: Mapping[Skip, int]
    examples: Mapping[Skip, Sequence[str]] = field(default_factory=dict)
    drops: Sequence[Drop] = ()

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def kind_of_input(text: str) -> Kind:
    """What sort of thing an input names. A path that exists comes first, except before a URL, `-` and `python:`.

    `registry` is what nothing exists for and what is spelled like an artifact's reference; a misspelled file name such
    as `notes.txt` is too, so whoever looks it up says that there is neither a file nor an artifact of that name.
    """
    if text == "-":
        return "stdin"
    if text.lower().startswith(("http://", "https://")):
        return "web"
    if text.startswith(PREFIX):
        return "python"
    if _exists(text):
        return "path"
    if text.startswith("hf:"):
        return "hub"
    try:
        return "registry" if isinstance(parse_input(text), RegistryRef) else "path"
    except (UsageError, ConfigError):  # no reference: a glob, or a file's name with a space in it
        return "path"


def collect(
    inputs: Sequence[str],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    homes: Sequence[Path] = (),
    found: Mapping[str, Sequence[SourceFile]] | None = None,
    drops: Sequence[Drop] = (),
) -> Collected:
    """Expand `inputs` into files.

    A file named outright is always taken. Of a folder, hidden files, files git ignores, likely secrets, plainly binary
    files and links that lead out of it are skipped and counted. `python:stdlib` and `python:PACKAGE` stand for the
    sources of installed modules.

    Args:
        inputs: paths, globs, or `python:` names; others only with their files in `found`.
        include: globs relative to the root; empty means everything.
        exclude: globs relative to the root, stronger than `include`.
        homes: folders that are never entered (llmkit's own).
        found: the files of the inputs that were fetched before (web, stdin, the Hub, the registry). They are taken as
            they are: `include` and `exclude` are about folders.
        drops: what could not be fetched of those inputs.

    Raises:
        NotFoundError: an input that does not exist.
        DataError: nothing is left to read.
    """
    if not inputs:
        raise DataError("no input is named", mend="name files, folders, globs, or python:stdlib")
    if any(not name.strip() for name in inputs):
        raise UsageError("one of the inputs is empty", mend="check the variable it comes from; . is this folder")
    walk = _Walk(include=include, exclude=exclude, homes=frozenset(home.resolve() for home in homes))
    found = found or {}
    files = [file for name in inputs for file in (walk.prepared(found[name]) if name in found else walk.expand(name))]
    if not files:
        raise _nothing(inputs, walk.skipped.counts, drops, include)
    return Collected(tuple(files), dict(walk.skipped.counts), walk.skipped.examples, tuple(drops))


@dataclass
class _Skipped:
    """What was left out: how often for each reason, and the first of each."""

    counts: Counter[Skip] = field(default_factory=Counter)
    examples: dict[Skip, list[str]] = field(default_factory=dict)

    def add(self, reason: Skip, path: str | Path) -> None:
        self.counts[reason] += 1
        named = self.examples.setdefault(reason, [])
        if len(named) < _EXAMPLES and _is_unicode(str(path)):
            named.append(str(path))


@dataclass
class _Walk:
    include: Sequence[str]
    exclude: Sequence[str]
    homes: frozenset[Path]
    skipped: _Skipped = field(default_factory=_Skipped)
    _seen: set[str] = field(default_factory=set)

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

    def prepared(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Those of `files` that were not taken yet."""
        new = []
        for file in files:
            # Two addresses may have one copy between them, and the parts of a dataset one folder.
            key = f"{file.source}\0{file.path}" if file.source else os.path.realpath(file.path)
            if key in self._seen:
                self.skipped.add("repeated", file.source or file.path)
            else:
                self._seen.add(key)
                new.append(file)
        return new

    def _module(self, module: str) -> list[SourceFile]:
        root = find_python_source(module)
        if root.is_file():
            return self._named_file(root)
        return self._folder(root, ("*.py",), without=STDLIB_EXCLUDED if is_stdlib(module) else ())

    def _named_file(self, path: Path) -> list[SourceFile]:
        if not path.is_file():
            raise DataError("not a regular file", where=str(path), mend="name a file or a folder")
        taken = self._take(str(path), path.name, os.path.realpath(path))
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
        found = sorted(entry for entry in entries.below(str(root), "") if wanted(entry[0]) and included(entry[0]))
        files = []
        for name, path, real in found:
            reason = skip_file(os.path.basename(path))  # noqa: PTH119 # a Path per entry makes large folders slow
            if reason:
                self.skipped.add(reason, path)
            elif taken := self._take(path, name, real):
                files.append(taken)
        # Links come last, so that a file is known by its own name if that is among those taken.
        for name, path, real in entries.linked_files():
            if wanted(name) and included(name) and not skip_file(Path(path).name):
                taken = self._take(path, name, real)
                files += [taken] if taken else []
        return files

    def _take(self, path: str, name: str, real: str) -> SourceFile | None:
        if not _is_unicode(path):
            self.skipped.add("bad_name", path)
            return None
        if real in self._seen:
            self.skipped.add("repeated", path)
            return None
        self._seen.add(real)
        return SourceFile(Path(path), name, os.stat(path).st_size)  # noqa: PTH116 # as above


_Entry = tuple[str, str, str]
"""A file's name relative to the root, its path, and its path without links."""


class _Entries:
    """The regular files below a folder, with links set aside; what is left out is counted in `skipped`."""

    def __init__(self, root: Path, excluded: Callable[[str], bool], homes: frozenset[Path], skipped: _Skipped) -> None:
        self._root = root
        self._excluded = excluded
        self._homes = homes
        self._skipped = skipped
        self._folders: set[str] = set()
        self._links: list[tuple[str, str]] = []
        self._ignored: set[str] = set(git_ignored(root))

    def below(self, folder: str, prefix: str) -> Iterator[_Entry]:
        real = os.path.realpath(folder)
        self._folders.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self._skipped.add("unreadable", folder)
            return
        if prefix and any(entry.name == ".git" for entry in entries):
            self._ignored |= {prefix + name for name in git_ignored(Path(folder))}
        for entry in entries:
            name = prefix + entry.name
            if reason := self._reason(entry, name):
                self._skipped.add(reason, entry.path)
            elif entry.is_symlink():
                self._links.append((entry.path, name))
            elif entry.is_dir():
                yield from self.below(entry.path, name + "/")
            else:
                yield name, entry.path, f"{real}/{entry.name}"

    def linked_files(self) -> Iterator[_Entry]:
        """The files that links within the root lead to. A folder is walked once, so that loops end."""
        while self._links:
            path, name = self._links.pop(0)
            target = Path(os.path.realpath(path))  # resolve() raises where links lead in a circle
            if not target.is_relative_to(self._root):
                self._skipped.add("outside_link", path)
            elif target.is_file():
                yield name, path, str(target)
            elif not target.is_dir():
                self._skipped.add("not_a_file", path)
            elif str(target) in self._folders:
                self._skipped.add("repeated", path)
            else:
                yield from self.below(path, name + "/")

    def _reason(self, entry: os.DirEntry[str], name: str) -> Skip | None:
        if self._excluded(name):
            return "excluded"
        if name in self._ignored:
            return "git_ignored"
        if entry.is_symlink():
            return None
        if entry.is_dir():
            return "home" if self._homes and Path(entry.path) in self._homes else skip_folder(entry.name)
        return None if entry.is_file() else "not_a_file"


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a path, a zero byte, nobody's home
        return False


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


def _nothing(
    inputs: Sequence[str], skipped: Mapping[Skip, int], drops: Sequence[Drop], include: Sequence[str]
) -> DataError:
    reasons = Counter({reason.replace("_", " "): count for reason, count in skipped.items()})
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    skips = f" (skipped: {counts})" if counts else "" if drops else ": the folder is empty"
    if include:
        skips += f"; none matches --include {', '.join(include)}"
    lost = f"; {len(drops)} could not be fetched, '{drops[0].source}' because: {drops[0].detail}" if drops else ""
    return DataError(
        f"no file to read{skips}{lost}",
        where=", ".join(inputs),
        mend="see why each was left out" if drops else "name a folder with text in it, or a skipped file itself",
    )
