"""Published weights that are there only as `.bin`: read once, in a process of their own, and kept as safetensors.

A `.bin` is a pickle, which can run code when it is read. It is read with `weights_only`, which builds nothing but
tensors, by an interpreter that has no other task; what it leaves behind is tensors without code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmkit.errors import DataError, StorageError

_BESIDE = (".json", ".txt", ".model", ".jinja")
"""Kinds of files that belong to a model besides its weights."""
_INDEX = "pytorch_model.bin.index.json"


def with_safetensors(folder: Path, cache: Path | None = None) -> Path:
    """The folder, or, where its weights are there only as `.bin`, a copy of it with safetensors, made once.

    Args:
        cache: where copies are kept, by the digest of what they were made from; else `~/.cache/llmkit/weights`.

    Raises:
        DataError: the file is damaged, or holds something else than tensors.
        StorageError: the copy cannot be written.
    """
    weights = sorted(folder.glob("pytorch_model*.bin"))
    if not weights or any(folder.glob("*.safetensors")):
        return folder
    kept = (cache or _user_cache()) / _digest(folder, weights)
    if kept.is_dir():
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as unfinished:
            made = Path(unfinished) / "model"
            made.mkdir()
            _read_apart(folder, made)
            for path in _beside(folder):
                shutil.copyfile(path, made / path.name)
            _publish(made, kept)
    except OSError as error:
        raise StorageError(
            f"the weights could not be converted to safetensors: {error}",
            where=str(kept.parent),
            mend="free space there, or set XDG_CACHE_HOME to another disk",
        ) from error
    return kept


def convert(folder: Path, made: Path) -> None:
    """Write each `.bin` of a folder as safetensors, and the index if there is one. Run by a process of its own.

    Raises:
        pickle.UnpicklingError: a file holds something else than tensors.
    """
    import torch
    from safetensors.torch import save_file

    for path in sorted(folder.glob("pytorch_model*.bin")):
        state = torch.load(path, map_location="cpu", weights_only=True)
        # Clones, because safetensors keeps no tensor that is a view of another, such as a tied output layer.
        tensors = {name: value.detach().clone().contiguous() for name, value in state.items() if torch.is_tensor(value)}
        save_file(tensors, made / _renamed(path.name), metadata={"format": "pt"})
    index = folder / _INDEX
    if index.is_file():
        listed = json.loads(index.read_text("utf-8"))
        listed["weight_map"] = {name: _renamed(file) for name, file in listed["weight_map"].items()}
        (made / "model.safetensors.index.json").write_text(json.dumps(listed, indent=2), "utf-8")


def _read_apart(folder: Path, made: Path) -> None:
    # Isolated mode: neither the current folder nor PYTHONPATH can put a module before ours.
    command = [sys.executable, "-I", "-m", "llmkit.models.convert", str(folder), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own module
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DataError(
            f"the weights cannot be read as plain tensors: {lines[-1] if lines else 'the reader was killed'}",
            where=str(folder),
            mend="fetch them again, or use a revision of the model that has safetensors",
        )


def _publish(made: Path, kept: Path) -> None:
    try:
        made.rename(kept)
    except OSError:
        if not kept.is_dir():  # else another process was faster, with the same content
            raise


def _beside(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _BESIDE and path.name != _INDEX:
            yield path


def _digest(folder: Path, weights: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in [*weights, *_beside(folder)]:
        with path.open("rb") as file:
            whole.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _renamed(name: str) -> str:
    return name.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmkit" / "weights"


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
