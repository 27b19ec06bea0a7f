"""Encoded tokens as a cache between a dataset and a tokenizer: built by whoever needs them first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.registry.digests import hash_file
from llmkit.stages.base import Context

if TYPE_CHECKING:
    from llmkit.data.dataset import Dataset
    from llmkit.data.tokens import TokenStore

AREA = "tokens"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def cached_tokens(ctx: Context, dataset: Dataset, tokenizer_folder: Path) -> TokenStore:
    """The dataset in tokens, encoded now if no earlier command did.

    The cache is keyed by content: the digests of the dataset's documents and of the tokenizer's own files.
    """
    from llmkit.data.tokens import TokenStore, encode_corpus
    from llmkit.models.load import load_tokenizer
    from llmkit.registry.values import digest_of

    documents = hash_file(dataset.folder / "documents.parquet")
    vocabulary = [hash_file(path) for name in TOKENIZER_FILES if (path := tokenizer_folder / name).exists()]

    def build(folder: Path) -> None:
        encode_corpus(dataset, load_tokenizer(tokenizer_folder), folder, ctx.reporter)

    # The manifests of the artifacts hold these digests, so gc knows when nobody needs the tokens any more.
    sources = [documents, *vocabulary]
    return TokenStore.open(ctx.registry.cached(AREA, digest_of([*sources]), sources=sources, build=build))
