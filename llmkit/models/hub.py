"""Published models: fetched once into the Hugging Face cache, as safetensors where they are to be had."""

from __future__ import annotations

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

from llmkit.errors import NotFoundError, StorageError, UnavailableError, UsageError

# No Python: what is not fetched cannot be run. Pickled weights only where there are no others; `convert` reads them.
_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
_PICKLED = ["pytorch_model*.bin"]
_UNWANTED = ["*/*"]


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


def cached(repository: str, *, revision: str | None = None) -> Path | None:
    """The folder of a repository whose configuration was fetched before, else None; the Hub is not asked."""
    found = try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _snapshot(repository: str, revision: str | None, wanted: list[str]) -> Path:
    return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted, ignore_patterns=_UNWANTED))
