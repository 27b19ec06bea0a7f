"""Datasets of the Hugging Face Hub as files: `hf:org/name`, optionally @revision, and a split behind `:` or `#`.

A revision is pinned to its commit before anything is loaded, and the commit is recorded. What was fetched is kept as
parquet, which the reader of parquet takes over. Code of a repository is never run: `datasets` 4 and later cannot.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmkit.data.sources.collect import SourceFile
from llmkit.errors import DataError, NotFoundError, UnavailableError, UsageError
from llmkit.registry.disk import lending, write_whole, writing
from llmkit.registry.refs import HubRef, parse
from llmkit.reporting.reporter import Reporter

_ROWS = 1000
"""Rows in memory at a time."""


@dataclass(frozen=True)
class HubInput:
    """A dataset on the Hub. Without a split, all of its splits; `config` is one of its subsets (`20231101.ja`)."""

    repo: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.repo}" + (f"@{self.revision}" if self.revision else "") + self._part(self.split)

    def source(self, split: str) -> str:
        """The URI of one split's documents; the commit is in their meta, so that ids outlive a new revision."""
        return f"hf:{self.repo}{self._part(split)}"

    def _part(self, split: str | None) -> str:
        config = f"{self.config}/" if self.config else ""
        return f"#{config}{split or ''}" if config or split else ""


@dataclass(frozen=True)
class HubFacts:
    """What the Hub says of a dataset: the commit that a revision is now, and the licence on its card ("" if none)."""

    commit: str
    licence: str


def parse_hub_input(text: str) -> HubInput:
    """`hf:org/name[@revision][:[SUBSET/]SPLIT]`, where `#` may stand for that `:`; a split may be cut: `train[:100]`.

    Raises:
        UsageError: it is spelled otherwise.
    """
    head, mark, selector = _cut(text.removeprefix("hf:"))
    ref = parse(f"hf:{head}")
    if not isinstance(ref, HubRef):
        raise AssertionError(f"hf: does not lead to the Hub: {ref}")
    config, slash, split = selector.rpartition("/")
    if (mark and not selector) or (slash and not config) or re.search(r"[\s/#]", config + split):
        raise UsageError(
            f"'{text}': {selector!r} is not a split", mend=f"write `hf:{head}:train`, or `hf:{head}:SUBSET/train`"
        )
    return HubInput(ref.repo, ref.revision, config or None, split or None)


def describe_on_hub(repo: str, revision: str | None) -> HubFacts:
    """Ask the Hub.

    Raises:
        NotFoundError: no such dataset or revision.
        UnavailableError: the Hub cannot be reached or is switched off, or a licence has to be accepted first.
    """
    from huggingface_hub import HfApi

    with _hub_errors(repo, revision):
        info = HfApi().dataset_info(repo, revision=revision, timeout=30)
    licence = getattr(info.card_data, "license", None) or ""
    return HubFacts(info.sha or "", ", ".join(licence) if isinstance(licence, list) else str(licence))


@dataclass(frozen=True)
class Hub:
    """The Hub, or what a test puts in its place: who is asked about a dataset, and where `datasets` loads it from."""

    describe: Callable[[str, str | None], HubFacts] = describe_on_hub
    location: Callable[[str], str] = str


def fetch_hub(wanted: HubInput, folder: Path, report: Reporter, *, hub: Hub | None = None) -> list[SourceFile]:
    """One parquet file below `folder` for each split that `wanted` means, in the order in which the dataset has them.

    The meta of each: `dataset`, `revision` (the commit), `split`, `retrieved`, and `config` and `license` where there
    are any. What an earlier run fetched of the same commit is used again, and also where the Hub cannot be reached.

    Raises:
        NotFoundError: no such dataset, revision, subset or split; the last two name those that exist.
        UnavailableError: the Hub cannot be reached, and nothing was fetched before.
        DataError: the repository holds no data that can be loaded.
        StorageError: `folder` cannot be written.
    """
    hub = hub or Hub()
    kept = _kept(wanted, folder)
    if kept and wanted.revision == kept.commit:
        return _files(wanted, folder, kept)
    try:
        facts = hub.describe(wanted.repo, wanted.revision)
    except UnavailableError as error:
        if kept is None:
            raise
        report.warn(f"{wanted}: {error.message}; what was fetched at {kept.retrieved} is used")
        return _files(wanted, folder, kept)
    if kept is None or kept.commit != facts.commit:
        kept = _fetch(wanted, folder, report, facts, hub.location(wanted.repo))
    return _files(wanted, folder, kept)


@dataclass(frozen=True)
class _Kept:
    """What was fetched for one input; `files` has the file's name by split."""

    commit: str
    licence: str
    retrieved: str
    files: Mapping[str, str] = field(default_factory=dict)


def _cut(body: str) -> tuple[str, str, str]:
    """What stands before the first `:` or `#`, the mark itself, and what stands behind it."""
    found = re.search(r"[:#]", body)
    return (body[: found.start()], found[0], body[found.end() :]) if found else (body, "", "")


def _note(wanted: HubInput, folder: Path) -> Path:
    return folder / f"{hashlib.sha256(str(wanted).encode()).hexdigest()[:32]}.json"


def _kept(wanted: HubInput, folder: Path) -> _Kept | None:
    try:
        kept = _Kept(**json.loads(_note(wanted, folder).read_bytes()))
        complete = all((folder / name).is_file() for name in kept.files.values())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return kept if complete else None


def _files(wanted: HubInput, folder: Path, kept: _Kept) -> list[SourceFile]:
    facts = {
        "dataset": wanted.repo,
        "revision": kept.commit,
        "config": wanted.config or "",
        "license": kept.licence,
        "retrieved": kept.retrieved,
    }
    found = []
    for split, name in kept.files.items():
        path = (folder / name).absolute()
        meta = {key: value for key, value in {**facts, "split": split}.items() if value}
        size, source = path.stat().st_size, wanted.source(split)
        found.append(SourceFile(path, source.removeprefix("hf:"), size, source=source, meta=meta))
    return found


def _fetch(wanted: HubInput, folder: Path, report: Reporter, facts: HubFacts, location: str) -> _Kept:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _loading_errors(wanted), lending(folder):
        loaded = _load(wanted, location, facts.commit or None)
        files = {}
        for split, dataset in loaded.items():
            key = f"{wanted.repo}@{facts.commit}\0{wanted.config}\0{split}"
            name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.parquet"
            _write(dataset, folder / name, f"{wanted.repo} {split}", report)
            files[split] = name
    kept = _Kept(facts.commit, facts.licence, datetime.now(UTC).isoformat(timespec="seconds"), files)
    with writing(folder):
        write_whole(_note(wanted, folder), json.dumps(asdict(kept), ensure_ascii=False, indent=1).encode())
    return kept


def _load(wanted: HubInput, location: str, commit: str | None) -> Mapping[str, Any]:
    """The datasets by split. They are memory-mapped files of the `datasets` cache, not in memory."""
    import datasets

    names = datasets.get_dataset_config_names(location, revision=commit)
    config = wanted.config or datasets.get_dataset_default_config_name(location, revision=commit)
    if config not in names:
        said = f"no subset '{wanted.config}'" if wanted.config else "several subsets, and none of them is the default"
        some = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise NotFoundError(
            f"the dataset has {said}; there are {some}",
            where=str(wanted),
            mend=f"name one: `hf:{wanted.repo}:{names[0] if names else 'SUBSET'}/`",
        )
    splits = datasets.load_dataset(location, config, revision=commit)
    if wanted.split is None:
        return dict(splits.items())
    if wanted.split in splits:
        return {wanted.split: splits[wanted.split]}
    try:
        return {wanted.split: datasets.load_dataset(location, config, revision=commit, split=wanted.split)}
    except (ValueError, AssertionError):
        raise NotFoundError(
            f"the dataset has no split '{wanted.split}'; there are {', '.join(splits)}",
            where=str(wanted),
            mend=f"name one of them: `hf:{wanted.repo}:{next(iter(splits), 'train')}`",
        ) from None


def _write(dataset: Any, path: Path, label: str, report: Reporter) -> None:
    """Write a dataset as parquet, a thousand rows at a time; the file is there when it is whole."""
    import pyarrow.parquet as pq

    draft = path.with_name(f".{path.name}.draft")
    try:
        schema = dataset.features.arrow_schema.remove_metadata()
        with (
            report.progress(f"fetching {label}", len(dataset), unit="rows") as progress,
            pq.ParquetWriter(draft, schema, compression="zstd") as writer,
        ):
            for table in dataset.with_format("arrow").iter(batch_size=_ROWS):
                writer.write_table(table.cast(schema))
                progress.advance(table.num_rows)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _hub_errors(repo: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub import errors

    where = f"hf:{repo}@{revision}" if revision else f"hf:{repo}"
    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"'{repo}' is no Hub dataset: {error}", mend="write it as hf:organisation/name") from error
    except errors.GatedRepoError as error:
        raise UnavailableError(
            "this dataset's terms must be accepted first",
            where=where,
            mend=f"accept them on https://huggingface.co/datasets/{repo} and set HF_TOKEN",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            "the Hub has no such dataset or revision",
            where=where,
            mend="check the name on https://huggingface.co/datasets; a private one needs HF_TOKEN",
        ) from error
    except _connection_errors() as error:
        raise _unreachable(where) from error


@contextmanager
def _loading_errors(wanted: HubInput) -> Iterator[None]:
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # the reporter has its own
    try:
        yield
    except DatasetNotFoundError as error:
        raise NotFoundError(
            f"the dataset cannot be found: {error}", where=str(wanted), mend="check its name on the Hub"
        ) from error
    except _connection_errors() as error:
        raise _unreachable(str(wanted)) from error
    except (DatasetsError, ValueError, RuntimeError, FileNotFoundError) as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(
            f"the dataset cannot be loaded: {first}",
            where=str(wanted),
            mend="download its files and name them; datasets that need code of theirs to load are not run",
        ) from error
    finally:
        if bars:
            datasets.enable_progress_bars()


def _connection_errors() -> tuple[type[BaseException], ...]:
    """What failing to reach the Hub raises: among others the errors of the Hub library's HTTP client, which is another
    package from version to version, and whose base class the library's own errors have."""
    from huggingface_hub.errors import HfHubHTTPError

    return (ConnectionError, *(base for base in HfHubHTTPError.__mro__ if base.__module__ != "builtins"))


def _unreachable(where: str) -> UnavailableError:
    return UnavailableError(
        "the Hugging Face Hub cannot be reached or is switched off",
        where=where,
        mend="unset HF_HUB_OFFLINE and check the network, or name downloaded files",
    )
