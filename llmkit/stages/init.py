"""`llmkit init DIR`: a small project that runs as it is, offline and on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from llmkit.errors import UsageError
from llmkit.registry.disk import write_whole, writing

FILES: Mapping[str, str] = {
    "README.md": "readme.md",
    "llmkit.yaml": "llmkit.yaml",
    "recipe.yaml": "recipe.yaml",
    "docs/library.md": "docs/library.md",
    "docs/pool.md": "docs/pool.md",
    "docs/tram.md": "docs/tram.md",
    "eval/suite.yaml": "eval/suite.yaml",
    "eval/search.jsonl": "eval/search.jsonl",
    "eval/refusals.jsonl": "eval/refusals.jsonl",
    ".github/workflows/eval.yml": "workflow.yml",
}
"""What is written, and which file of `stages/project` it is; that has no hidden folders, which packaging leaves out."""


def write_project(folder: Path) -> Sequence[Path]:
    """Write the project's files below `folder`, which may hold others.

    Raises:
        UsageError: one of the files is there already; nothing is written.
        StorageError: the folder cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", mend="name a folder; it is made where it is not there")
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise UsageError(
            f"{folder} has these already: {', '.join(there[:3])}{more}; nothing was written",
            mend="name another folder, or move them away",
        )
    project = files("llmkit.stages") / "project"
    written = []
    for name, source in FILES.items():
        path = folder / name
        with writing(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, project.joinpath(source).read_bytes())
        written.append(path)
    return written
