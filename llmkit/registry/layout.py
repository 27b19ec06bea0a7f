"""Where things lie below the registry's home, and how the home is found and made.

artifacts/NAME/VERSION/    manifest.json and the artifact's files; removed.json in its place once it is removed
tags/NAME.json             {"prod": 3}
stores/NAME/               the mutable store beside an index
cache/AREA/KEY/            what can be built again
work/KEY/                  checkpoints of an unfinished run; work/.build-*: artifacts being built
trust/                     digests of what was seen first and must not change
locks/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import StorageError
from llmkit.registry.disk import write_whole, writing

HOME_VARIABLE = "LLMKIT_HOME"
HOME_FOLDER = ".llmkit"

MANIFEST = "manifest.json"
TOMBSTONE = "removed.json"
"""A removed artifact's manifest: its number is never given again, and lineage still leads through it."""
CACHE_RECORD = "cache.json"
ANSWER_AREA = "answers"
DOWNLOAD_AREA = "downloads"
"""The part of the cache that holds copies of what was fetched; each is kept while it is asked for."""
BUILD_PREFIX = ".build-"
TRASH_PREFIX = ".trash-"


def find_home(environ: Mapping[str, str], cwd: Path) -> Path:
    """The registry's home: LLMKIT_HOME, else the nearest `.llmkit/` upwards of `cwd`, else a new one in `cwd`.

    Nothing is created: that happens at the first write.
    """
    if named := environ.get(HOME_VARIABLE):
        return cwd / Path(named).expanduser()
    for folder in (cwd, *cwd.parents):
        if (folder / HOME_FOLDER).is_dir():
            return folder / HOME_FOLDER
    return cwd / HOME_FOLDER


@dataclass(frozen=True)
class Layout:
    """The paths below a home."""

    home: Path

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def tags(self) -> Path:
        return self.home / "tags"

    @property
    def stores(self) -> Path:
        return self.home / "stores"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def downloads(self) -> Path:
        return self.cache / DOWNLOAD_AREA

    @property
    def trust(self) -> Path:
        return self.home / "trust"

    @property
    def work(self) -> Path:
        return self.home / "work"

    @property
    def locks(self) -> Path:
        return self.home / "locks"

    def artifact(self, name: str, version: int) -> Path:
        return self.artifacts / name / str(version)

    def lock(self, subject: str, name: str) -> Path:
        return self.locks / f"{subject}-{name}.lock"

    def prepare(self) -> None:
        """Makes the home (for its owner only, ignored by git) and its folders, as far as they are not there.

        Raises:
            StorageError: this place cannot be written to.
        """
        with writing(self.home):
            if not self.home.is_dir():
                try:
                    self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
                except FileNotFoundError as error:
                    mend = f"set {HOME_VARIABLE} to a folder you may write to"
                    raise StorageError("cannot be made here", where=str(self.home), mend=mend) from error
            # A folder of the user's own that LLMKIT_HOME points at must not vanish from its git; so only into one that
            # holds nothing, or nothing but the drafts of processes that were killed right here.
            if all(entry.name.startswith("..gitignore.") for entry in self.home.iterdir()):
                write_whole(self.home / ".gitignore", b"*\n")
            for folder in (self.artifacts, self.tags, self.stores, self.cache, self.work, self.locks):
                folder.mkdir(exist_ok=True)
