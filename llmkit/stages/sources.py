"""Files as the input of a command: which options choose them, how they are found, and what to call what is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.config.base import option
from llmkit.registry.refs import slug
from llmkit.stages.base import Raw, StageConfig

if TYPE_CHECKING:
    from llmkit.registry.store import Registry


class FilesConfig(StageConfig):
    """Options of the commands that read files."""

    inputs: tuple[str, ...] = option(
        ...,
        "Files, folders, globs, or python:PACKAGE (python:stdlib) for installed source.",
        argument="INPUT",
        min_length=1,
    )
    include: tuple[str, ...] = option((), "Only files that match one of these globs.")
    exclude: tuple[str, ...] = option((), "No file that matches one of these globs.")
    text_field: str | None = option(
        None, "Field that holds the text of a record (JSONL, CSV, ...); else the usual names."
    )


def collect_files(cfg: FilesConfig, registry: Registry) -> Raw:
    """The files that the options mean, with a digest of their names and contents; `value` is a `Collected`.

    Raises:
        NotFoundError: an input is not there.
        DataError: nothing is left to read.
    """
    from llmkit.data.collect import collect

    collected = collect(cfg.inputs, include=cfg.include, exclude=cfg.exclude, homes=[registry.home])
    digest = registry.input_digest(file.path for file in collected.files)
    return Raw(", ".join(cfg.inputs), digest.digest, collected)


def name_from_inputs(cfg: FilesConfig) -> str:
    """A name from the first input: a folder's or file's own, a package's."""
    first = cfg.inputs[0]
    if first.startswith("python:"):
        return slug(first.removeprefix("python:"))
    return slug(Path(first).expanduser().resolve().stem or "documents")
