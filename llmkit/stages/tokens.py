"""Encoded tokens as a cache between a dataset and a tokenizer: built by whoever needs them first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.registry.digests import hash_file
from llmkit.stages.base import Context

if TYPE_CHECKING:
    from llmkit.data.dataset import Dataset
    from llmkit.data.tokens import TokenStore
    from llmkit.registry.artifact import Artifact

AREA = "tokens"
DOCUMENTS = "documents.parquet"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
)
"""What a published tokenizer may consist of; ours is the first two."""


def cached_tokens(ctx: Context, dataset: Dataset, tokenizer_folder: Path) -> TokenStore:
    """The dataset in tokens, encoded now if no earlier command did.

    The cache is keyed by content: the digests of the dataset's documents and of the tokenizer's own files.
    """
    from llmkit.data.tokens import FORMAT, TokenStore, encode_corpus
    from llmkit.models.load import load_tokenizer
    from llmkit.registry.values import digest_of

    documents = hash_file(dataset.folder / DOCUMENTS)
    vocabulary = [hash_file(path) for name in TOKENIZER_FILES if (path := tokenizer_folder / name).exists()]

    def build(folder: Path) -> None:
        encode_corpus(dataset, load_tokenizer(tokenizer_folder), folder, ctx.reporter)

    # The manifests of the artifacts hold these digests, so gc knows when nobody needs the tokens any more.
    sources = [documents, *vocabulary]
    return TokenStore.open(ctx.registry.cached(AREA, digest_of([FORMAT, *sources]), sources=sources, build=build))


def tokens_of(ctx: Context, data: Artifact, tokenizer_folder: Path) -> TokenStore:
    """The tokens of a published dataset, every byte of both as it was written.

    Raises:
        DataError: a file of the dataset or of the cache is damaged; it is named.
    """
    from llmkit.data.dataset import Dataset
    from llmkit.errors import DataError

    path = data.path / DOCUMENTS
    if hash_file(path) != data.manifest.files[DOCUMENTS].sha256:
        raise DataError(
            f"the documents of {data.ref} are not what was written",
            where=str(path),
            mend=f"make it again: the preprocess of {data.name} with --force; `llmkit registry verify` finds the rest",
        )
    store = cached_tokens(ctx, Dataset.open(data.path), tokenizer_folder)
    store.verify()
    return store
