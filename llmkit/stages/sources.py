"""What commands read: which options choose it, how it is found or fetched, and what to call what is made of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.config.base import option
from llmkit.config.sections import LimitOptions, WebOptions
from llmkit.registry.refs import RegistryRef, parse_input, slug
from llmkit.stages.base import Inputs, Raw, StageConfig

if TYPE_CHECKING:
    from llmkit.data.drops import Drop
    from llmkit.data.readers.base import ReadOptions
    from llmkit.data.sources.collect import Collected, SourceFile
    from llmkit.data.sources.web.crawl import WebCollected
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.reporting.reporter import Reporter

STDIN = "-"


class SourcesConfig(StageConfig):
    """Options of the commands that read documents."""

    inputs: tuple[str, ...] = option(
        ...,
        "Files, folders, globs, archives, URLs, sitemaps, feeds, - (standard input), hf:ORG/NAME, a dataset, "
        "or python:PACKAGE.",
        argument="INPUT",
        min_length=1,
    )
    include: tuple[str, ...] = option((), "Only files that match one of these globs.")
    exclude: tuple[str, ...] = option((), "No file that matches one of these globs.")
    text_field: str | None = option(
        None, "Field that holds the text of a record (JSONL, CSV, ...); else the usual names."
    )
    id_field: str | None = option(None, "Field that holds a record's id; else its line or row.")
    web: WebOptions = WebOptions()
    limits: LimitOptions = LimitOptions()


@dataclass(frozen=True)
class Fetched:
    """The files of inputs that are not files of this machine, by the input; and what could not be had of them."""

    files: Mapping[str, Sequence[SourceFile]] = field(default_factory=dict)
    drops: Sequence[Drop] = ()


def fetch_inputs(cfg: SourcesConfig, registry: Registry, reporter: Reporter, *, offline: bool) -> Fetched:
    """What is not on this machine, or comes from a pipe."""
    return fetch(cfg.inputs, cfg.web, registry, reporter, offline=offline)


def fetch(
    names: Sequence[str], web: WebOptions, registry: Registry, reporter: Reporter, *, offline: bool = False
) -> Fetched:
    """Bring URLs, standard input and data sets of the Hub into the registry's cache, so that they can be read as files.

    Raises:
        LlmkitError: as the modules that do it; a page that cannot be had is among the drops.
    """
    from llmkit.data.sources.collect import kind_of_input

    files: dict[str, Sequence[SourceFile]] = {}
    drops: Sequence[Drop] = ()
    kinds = {name: kind_of_input(name) for name in names}
    if urls := [name for name, kind in kinds.items() if kind == "web"]:
        collected = _from_web(urls, web, registry, reporter, offline=offline)
        files.update(collected.found)
        drops = collected.drops
    for name, kind in kinds.items():
        if kind == "stdin":
            from llmkit.data.sources.standard_input import spool_stdin

            registry.layout.prepare()
            files[name] = [spool_stdin(sys.stdin.buffer, registry.layout.downloads / "stdin")]
        elif kind == "hub":
            from llmkit.data.sources.hub import fetch_hub, parse_hub_input

            registry.layout.prepare()
            files[name] = fetch_hub(parse_hub_input(name), registry.layout.downloads / "hub", reporter)
    return Fetched(files, drops)


def fetched_before(names: Sequence[str], web: WebOptions, registry: Registry) -> Fetched:
    """What earlier runs fetched of these inputs; of standard input, everything that was ever read, the latest first.

    Raises:
        LlmkitError: as `fetch`.
    """
    from llmkit.data.sources.standard_input import spooled
    from llmkit.reporting.reporter import Silent

    fetched = fetch([name for name in names if name != STDIN], web, registry, Silent(), offline=True)
    if STDIN not in names:
        return fetched
    return replace(fetched, files={**fetched.files, STDIN: spooled(registry.layout.downloads / "stdin")})


def collect_files(cfg: SourcesConfig, registry: Registry, fetched: Fetched | None = None) -> Raw:
    """The files that the options mean, with a digest of their names and contents; `value` is a `Collected`.

    Raises:
        NotFoundError: an input is not there.
        DataError: nothing is left to read.
    """
    from llmkit.data.sources.collect import collect

    fetched = fetched or Fetched()
    collected = collect(
        cfg.inputs,
        include=cfg.include,
        exclude=cfg.exclude,
        homes=[registry.home],
        found=fetched.files,
        drops=fetched.drops,
    )
    return Raw(", ".join(cfg.inputs), content_digest(collected, registry), collected)


def content_digest(collected: Collected, registry: Registry) -> str:
    """Of the names and contents of files as they are now."""
    # A file that may not be read is left to its reader, which records it as dropped and goes on.
    paths = (file.path for file in collected.files if file.form == "file")
    return registry.input_digest(path for path in paths if os.access(path, os.R_OK)).digest


def read_options(cfg: SourcesConfig, *, all_fields: bool = False) -> ReadOptions:
    """How files are read, and what that may cost."""
    from llmkit.data.readers.base import ParseLimits, ReadOptions

    limits = ParseLimits(seconds=cfg.limits.seconds, memory_bytes=int(cfg.limits.memory * (1 << 30)))
    return ReadOptions(text_field=cfg.text_field, id_field=cfg.id_field, all_fields=all_fields, limits=limits)


def named_files(names: Sequence[str], registry: Registry) -> Raw:
    """Files that an option names (also folders and globs), with a digest of them; `value` holds their paths.

    Raises:
        NotFoundError: one is not there.
    """
    from llmkit.data.sources.collect import collect

    paths = [file.path for file in collect(names, homes=[registry.home]).files]
    return Raw(", ".join(names), registry.input_digest(paths).digest, paths)


def find_datasets(names: Sequence[str], registry: Registry) -> Mapping[str, Artifact]:
    """The inputs that name a dataset of texts in the registry, by the input."""
    from llmkit.data.sources.collect import kind_of_input

    found: dict[str, Artifact] = {}
    for name in names:
        ref = parse_input(name) if kind_of_input(name) == "registry" else None
        if isinstance(ref, RegistryRef) and registry.versions(ref.name):
            found[name] = registry.resolve(ref, "dataset")
    return found


def with_datasets(fetched: Fetched, datasets: Mapping[str, Artifact]) -> Fetched:
    """What was fetched, and datasets of the registry as sources beside it."""
    files = {name: [dataset_file(artifact)] for name, artifact in datasets.items()}
    return replace(fetched, files={**fetched.files, **files})


def dataset_file(artifact: Artifact) -> SourceFile:
    """A dataset of texts as something to read documents from."""
    from llmkit.data.dataset import DOCUMENTS
    from llmkit.data.sources.collect import SourceFile

    return SourceFile(artifact.path, artifact.ref, (artifact.path / DOCUMENTS).stat().st_size, form="dataset")


def as_inputs(datasets: Mapping[str, Artifact]) -> Inputs:
    """Datasets under roles of their own: `data`, `data-2`, ..."""
    roles = ("data" if number == 1 else f"data-{number}" for number in range(1, len(datasets) + 1))
    return Inputs(dict(zip(roles, datasets.values(), strict=True)))


def name_from_inputs(cfg: SourcesConfig) -> str:
    """A name from the first input: a folder's or file's own, a package's, a host's."""
    first = cfg.inputs[0]
    if first == STDIN:
        return "stdin"
    if first.startswith("python:"):
        return slug(first.removeprefix("python:"))
    if "://" in first:
        return slug(first.partition("://")[2].split("/")[0])
    if first.startswith("hf:"):
        return slug(first.removeprefix("hf:").replace("/", "-"))
    return slug(Path(first).expanduser().resolve().stem or "documents")


def _from_web(
    urls: Sequence[str], web: WebOptions, registry: Registry, reporter: Reporter, *, offline: bool
) -> WebCollected:
    from llmkit.data.sources.web.crawl import collect_web
    from llmkit.data.sources.web.options import FetchOptions

    registry.layout.prepare()
    limits = FetchOptions(rate=web.rate, max_pages=web.max_pages, offline=offline)
    collected = collect_web(urls, registry.layout.downloads / "web", limits, reporter)
    if collected.left:
        reporter.warn(f"{collected.left} more pages were left: raise --max-pages")
    return collected
