"""The registry: the one object through which a stage finds artifacts, publishes them, and takes up earlier work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmkit.errors import DataError, NotFoundError, UsageError, closest
from llmkit.registry import publish, shelf, tags, workspace
from llmkit.registry.artifact import KINDS, Artifact, Draft, Kind
from llmkit.registry.digests import DIGEST_AREA, FilesDigest, input_digest
from llmkit.registry.disk import writing
from llmkit.registry.layout import Layout
from llmkit.registry.locks import held
from llmkit.registry.refs import RegistryRef, check_name, check_tag, parse
from llmkit.registry.shelf import Unreadable

_MAKERS: Mapping[Kind, str] = {
    "dataset": "llmkit preprocess",
    "tokenizer": "llmkit preprocess",
    "model": "llmkit pretrain",
    "adapter": "llmkit finetune-lora",
    "index": "llmkit index",
    "report": "llmkit eval",
}


@dataclass(frozen=True)
class Registry:
    """The artifacts below one home. Making the object touches nothing; the home is made by the first write.

    Reading takes no lock and works on a read-only disk. Every method that writes raises StorageError where it cannot.
    """

    home: Path
    pins: Mapping[str, int] = field(default_factory=dict)
    """Versions that bare names mean in this view."""

    @property
    def layout(self) -> Layout:
        return Layout(self.home)

    def with_pins(self, pins: Mapping[str, int]) -> Registry:
        """A view in which these names, written without a version or tag, mean these versions."""
        return replace(self, pins={**self.pins, **pins})

    # Finding

    def resolve(self, ref: str | RegistryRef, *kinds: Kind) -> Artifact:
        """The artifact a reference names: the latest version (or the pinned one) unless it says which.

        Args:
            kinds: what will do; anything, if none is given.

        Raises:
            NotFoundError: there is no such name, version or tag; the closest ones are named.
            UsageError: it is of another kind, or `ref` is no registry reference.
            DataError: its manifest is damaged.
        """
        wanted = parse(ref) if isinstance(ref, str) else ref
        if not isinstance(wanted, RegistryRef):
            raise UsageError(
                f"'{ref}' is not the name of an artifact", mend="`llmkit registry list` shows what there is"
            )
        version = self._version(wanted, kinds)
        artifact = shelf.load(self.layout, wanted.name, version)
        if artifact is None:
            raise self._no_version(wanted.name, version)
        if kinds and artifact.kind not in kinds:
            found = _one_of([artifact.kind])
            raise UsageError(f"'{wanted}' is {found}; needed is {_one_of(kinds)}", mend=self._of_kinds(kinds))
        return artifact

    def only(self, kind: Kind) -> Artifact:
        """The latest version of the only name of this kind: the default where a reference is left out.

        Raises:
            NotFoundError: there is none.
            UsageError: there are several names.
        """
        names = sorted({artifact.name for artifact in self.artifacts(kind)})
        if not names:
            raise NotFoundError(f"there is no {kind} yet", mend=self._of_kinds([kind]))
        if len(names) > 1:
            raise UsageError(f"there are several of kind {kind}: {', '.join(names)}", mend="name the one you mean")
        return self.resolve(names[0], kind)

    def artifacts(self, *kinds: Kind) -> tuple[Artifact, ...]:
        """All readable artifacts of these kinds (of all kinds, if none is given), by name and version."""
        return tuple(artifact for artifact in shelf.whole(self.layout) if not kinds or artifact.kind in kinds)

    def unreadable(self) -> tuple[Unreadable, ...]:
        """The artifacts whose manifest is damaged, which `artifacts` leaves out."""
        return tuple(found for found in shelf.scan(self.layout) if isinstance(found, Unreadable))

    def versions(self, name: str) -> list[int]:
        """Version numbers of a name, ascending; empty if there is none."""
        return shelf.versions(self.layout, check_name(name))

    # Tags

    def tags(self, name: str) -> dict[str, int]:
        """Versions of a name by tag."""
        return tags.read(self.layout, check_name(name))

    def tag(self, artifact: Artifact, tag: str) -> None:
        """Points `tag` at this version of its name; from wherever it pointed before.

        Raises:
            UsageError: the tag is a number or not spelled like a name.
            NotFoundError: the artifact is gone.
        """
        check_tag(tag)
        layout = self.layout
        layout.prepare()
        with held(layout.lock("name", artifact.name), what=f"the name {artifact.name}", wait=True):
            if artifact.version not in shelf.versions(layout, artifact.name):
                raise self._no_version(artifact.name, artifact.version)
            with writing(layout.home):
                tags.change(layout, artifact.name, tag, artifact.version)

    def untag(self, name: str, tag: str) -> None:
        """Takes a tag away.

        Raises:
            NotFoundError: there is no such tag.
        """
        layout = self.layout
        if tag not in self.tags(name):
            raise self._no_tag(name, tag)
        layout.prepare()
        with held(layout.lock("name", name), what=f"the name {name}", wait=True), writing(layout.home):
            tags.change(layout, name, tag, None)

    # Reuse

    def find_by_key(self, key: str, names: Mapping[Kind, str] | None = None) -> tuple[Artifact, ...] | None:
        """The artifacts of a finished run with this reuse key, in the order they were published; None without one.

        Of several such runs, one that has these `names` goes first, then the newest. A run counts only if every
        artifact of it is still there with all its files.
        """
        runs = [run for last in shelf.whole(self.layout, containing=key) if (run := self._run(last, key))]

        def rank(run: tuple[Artifact, ...]) -> tuple[object, ...]:
            # An alias ended when its original did, so among those of one name the version decides.
            return _named(run, names or {}), run[-1].manifest.ended, run[-1].version

        return max(runs, key=rank, default=None)

    def reuse(self, key: str, names: Mapping[Kind, str]) -> tuple[Artifact, ...] | None:
        """As `find_by_key`, under these names: so that a name's latest version is what was last asked for.

        Where the found artifacts have other names, or a later version has come since, they are published again as
        aliases.

        Args:
            names: the name asked for, by kind; artifacts of other kinds keep theirs.

        Raises:
            UsageError: a name belongs to an artifact of another kind.
        """
        run = self.find_by_key(key, names)
        if run is None:
            return None
        if _named(run, names) and all(artifact.version == self.versions(artifact.name)[-1] for artifact in run):
            return run
        aliases: list[Artifact] = []
        for artifact in run:
            completes = [alias.ref for alias in aliases] if artifact is run[-1] else None
            name = names.get(artifact.kind, artifact.name)
            aliases.append(publish.publish_alias(self.layout, artifact, name, completes))
        return tuple(aliases)

    # Making

    def check_free(self, name: str, kind: Kind) -> None:
        """Raises UsageError, before the work starts, if `name` belongs to artifacts of another kind."""
        publish.check_kind(self.layout, check_name(name), kind)

    def building(self) -> AbstractContextManager[Path]:
        """An empty directory to build an artifact in; gone at the end of the block unless it was published."""
        return publish.building(self.layout)

    def publish(self, folder: Path, draft: Draft) -> Artifact:
        """Publishes what is in a `building` directory as the next version of the draft's name. See publish.publish."""
        return publish.publish(self.layout, folder, draft)

    def workspace(self, key: str, *, restart: bool = False) -> AbstractContextManager[Path]:
        """The directory that keeps a run's checkpoints until the block ends normally. See workspace.workspace."""
        return workspace.workspace(self.layout, key, restart=restart)

    def shared_workspace(self, key: str, part: str) -> AbstractContextManager[Path]:
        """The same directory for one of several processes; see `workspace.shared_workspace`."""
        return workspace.shared_workspace(self.layout, key, part)

    def cached(self, area: str, key: str, *, sources: Sequence[str], build: Callable[[Path], None]) -> Path:
        """A complete cache directory, built now if need be. See workspace.cached."""
        return workspace.cached(self.layout, area, key, sources=sources, build=build)

    def store(self, name: str) -> AbstractContextManager[Path]:
        """The mutable store beside an index, for its one writer. See workspace.store."""
        return workspace.store(self.layout, name)

    def store_path(self, name: str) -> Path:
        """Where the store is, for readers."""
        return self.layout.stores / check_name(name)

    def input_digest(self, paths: Iterable[Path], *, root: Path | None = None) -> FilesDigest:
        """Digest of raw input files, remembering what it read before. See digests.input_digest."""
        memory = self.layout.cache / DIGEST_AREA if self.home.is_dir() else None
        return input_digest(paths, root=root, cache=memory)

    # Inside

    def _version(self, ref: RegistryRef, kinds: Sequence[Kind]) -> int:
        there = shelf.versions(self.layout, ref.name)
        if not there:
            raise self._no_name(ref, kinds)
        if ref.tag is not None:
            version = self.tags(ref.name).get(ref.tag)
            if version is None:
                raise self._no_tag(ref.name, ref.tag)
        else:
            version = ref.version or self.pins.get(ref.name) or there[-1]
        if version not in there:
            raise self._no_version(ref.name, version)
        return version

    def _no_name(self, ref: RegistryRef, kinds: Sequence[Kind]) -> NotFoundError:
        near = closest(ref.name, {artifact.name for artifact in self.artifacts(*kinds)})
        here = f"for the file write `./{ref.name}`; " if Path(ref.name).exists() else ""
        return NotFoundError(f"nothing in the registry is named '{ref.name}'{near}", mend=here + self._of_kinds(kinds))

    def _no_version(self, name: str, version: int) -> NotFoundError:
        removed = version in shelf.numbers(self.layout, name)
        there = ", ".join(f"{name}@{number}" for number in shelf.versions(self.layout, name)[-5:])
        return NotFoundError(
            f"{name}@{version} was removed" if removed else f"there is no {name}@{version}",
            mend=f"there is {there}" if there else f"make '{name}' again",
        )

    def _no_tag(self, name: str, tag: str) -> NotFoundError:
        known = self.tags(name)
        return NotFoundError(
            f"'{name}' has no tag '{tag}'{closest(tag, known)}",
            mend=f"its tags: {', '.join(known)}" if known else f"set it with `llmkit registry tag {name} {tag}`",
        )

    def _of_kinds(self, kinds: Sequence[Kind]) -> str:
        names = sorted({artifact.name for artifact in self.artifacts(*kinds)})
        if names:
            return f"there is {', '.join(names[:8])}{' …' if len(names) > 8 else ''}"
        commands = dict.fromkeys(f"`{_MAKERS[kind]}`" for kind in kinds or KINDS)
        return f"make one with {' or '.join(commands)}"

    def _run(self, last: Artifact, key: str) -> tuple[Artifact, ...] | None:
        """The whole run that `last` closes, or None if it closes none or part of it is gone."""
        if last.manifest.key != key or last.manifest.completes is None:
            return None
        run = [last]
        for ref in reversed(last.manifest.completes):
            name, _, version = ref.rpartition("@")
            try:
                part = shelf.load(self.layout, name, int(version))
            except DataError:
                return None
            if part is None:
                return None
            run.insert(0, part)
        return tuple(run) if all(shelf.files_present(artifact) for artifact in run) else None


def _named(run: Sequence[Artifact], names: Mapping[Kind, str]) -> bool:
    return all(artifact.name == names.get(artifact.kind, artifact.name) for artifact in run)


def _one_of(kinds: Sequence[Kind]) -> str:
    return " or ".join(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in kinds)
