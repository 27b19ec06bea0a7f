"""The token cache of a dataset: one memory-mapped array of ids per split, with the offsets of its documents."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from llmkit.data.dataset import Dataset
from llmkit.data.encoders import Backend, Encoder, make_encoder
from llmkit.data.split import SPLITS, Split
from llmkit.data.writing import new_folder
from llmkit.errors import DataError, NotFoundError
from llmkit.registry.digests import hash_file
from llmkit.reporting.reporter import Reporter

META = "meta.json"
FORMAT = 2
_VERIFIED_CHARS = 500_000
"""Characters of real documents on which two encoders are compared before the faster one is believed."""


@dataclass(frozen=True)
class SplitCounts:
    """`tokens` includes the end-of-text token after each document; `bytes` is the text in UTF-8, for bits per byte."""

    tokens: int
    documents: int
    bytes: int


def encode_corpus(dataset: Dataset, tokenizer: PreTrainedTokenizerFast, folder: Path, reporter: Reporter) -> TokenStore:
    """Encode a dataset of texts into the token cache `folder`, which appears only when it is complete.

    Each document is followed by the tokenizer's end-of-text token. Processes that make the same cache at once do no
    harm: the first one's stays.

    Raises:
        DataError: if the dataset holds no texts, or the tokenizer has no end-of-text token.
        StorageError: if the cache cannot be written.
    """
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-text token", mend="use a tokenizer that defines eos_token")
    encoder = make_encoder(tokenizer, _sample(dataset))
    dtype = np.dtype("<u2") if len(tokenizer) <= 1 << 16 else np.dtype("<u4")
    with new_folder(folder) as building:
        counts = _write_splits(dataset, encoder, tokenizer.eos_token_id, dtype, building, reporter)
        meta = {
            "format": FORMAT,
            "dtype": dtype.name,
            "eos": tokenizer.eos_token_id,
            "vocab_size": len(tokenizer),
            "encoder": encoder.backend,
            "splits": {split: vars(count) for split, count in counts.items()},
            "files": {split: hash_file(building / _file_name(split)) for split in SPLITS},
        }
        (building / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    return TokenStore.open(folder)


def _sample(dataset: Dataset) -> list[str]:
    texts: list[str] = []
    room = _VERIFIED_CHARS
    for each in dataset.documents():
        texts.append(each.document.text[:room])
        room -= len(texts[-1])
        if room <= 0:
            break
    return texts


def _write_splits(
    dataset: Dataset, encoder: Encoder, eos: int, dtype: np.dtype, folder: Path, reporter: Reporter
) -> dict[Split, SplitCounts]:
    writers = {split: _SplitWriter(folder, split, dtype, eos) for split in SPLITS}
    try:
        with reporter.progress("encoding", unit="documents") as progress:
            for each in dataset.documents():
                writers[each.split].add(encoder.encode(each.document.text), len(each.document.text.encode("utf-8")))
                progress.advance()
        return {split: writer.finish() for split, writer in writers.items()}
    finally:
        for writer in writers.values():
            writer.close()


class _SplitWriter:
    def __init__(self, folder: Path, split: Split, dtype: np.dtype, eos: int) -> None:
        self._offsets_path = folder / f"{split}.offsets.npy"
        self._file = (folder / _file_name(split)).open("wb")
        self._end = np.asarray([eos], dtype=dtype)
        self._offsets = array("q", [0])
        self._bytes = 0

    def add(self, ids: np.ndarray, size: int) -> None:
        self._file.write(ids.astype(self._end.dtype).tobytes() + self._end.tobytes())
        self._offsets.append(self._offsets[-1] + len(ids) + 1)
        self._bytes += size

    def finish(self) -> SplitCounts:
        self._file.close()
        np.save(self._offsets_path, np.frombuffer(self._offsets, dtype=np.int64).astype("<i8"))
        return SplitCounts(self._offsets[-1], len(self._offsets) - 1, self._bytes)

    def close(self) -> None:
        self._file.close()


class TokenStore:
    """A finished token cache, opened for reading.

    Attributes:
        eos: the id that ends each document.
        vocab_size: number of ids the tokenizer knows; every token is below it.
        backend: which library encoded it.
        counts: per split.
    """

    def __init__(self, folder: Path, meta: Mapping[str, object], counts: Mapping[Split, SplitCounts]) -> None:
        self.folder = folder
        self.counts = counts
        self.eos = int(str(meta["eos"]))
        self.vocab_size = int(str(meta["vocab_size"]))
        self.backend: Backend = "tiktoken" if meta["encoder"] == "tiktoken" else "tokenizers"
        self._dtype = np.dtype(str(meta["dtype"])).newbyteorder("<")
        self._digests: Any = meta["files"]

    @classmethod
    def open(cls, folder: Path) -> TokenStore:
        """Open the token cache in `folder` and check that its files have the sizes they should have.

        Raises:
            NotFoundError: if there is none.
            DataError: if a file is damaged; it is named.
        """
        path = folder / META
        if not path.is_file():
            raise NotFoundError("no token cache is there", where=str(folder))
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            counts = {split: SplitCounts(**meta["splits"][split]) for split in SPLITS}
            store = cls(folder, meta, counts)
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error
        for split in SPLITS:
            store._check(split)
        return store

    def verify(self) -> None:
        """Compare every id with what was written; raise DataError, naming the file, where one differs."""
        for split in SPLITS:
            if hash_file(self._file(split)) != self._digests[split]:
                raise _damaged(self._file(split), "its content is not what was written")

    def tokens(self, split: Split) -> np.ndarray:
        """All ids of a split, shape (tokens,), memory-mapped and read-only; uint16 or uint32."""
        if not self.counts[split].tokens:
            return np.zeros(0, dtype=self._dtype)
        return np.memmap(self._file(split), dtype=self._dtype, mode="r")

    def offsets(self, split: Split) -> np.ndarray:
        """int64, shape (documents + 1,): document i is `tokens[offsets[i]:offsets[i + 1]]`, its last id being eos."""
        offsets: np.ndarray = np.load(self._offsets_file(split), mmap_mode="r")
        return offsets

    def _check(self, split: Split) -> None:
        count, file = self.counts[split], self._file(split)
        size = file.stat().st_size if file.is_file() else -1
        if size != count.tokens * self._dtype.itemsize:
            raise _damaged(file, f"{max(size, 0):,} bytes, not {count.tokens * self._dtype.itemsize:,}")
        try:
            offsets = self.offsets(split)
            complete = len(offsets) == count.documents + 1 and offsets[-1] == count.tokens
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(self._offsets_file(split), str(error)) from error
        if not complete:
            raise _damaged(self._offsets_file(split), "it does not fit the tokens")

    def _file(self, split: Split) -> Path:
        return self.folder / _file_name(split)

    def _offsets_file(self, split: Split) -> Path:
        return self.folder / f"{split}.offsets.npy"


def _file_name(split: Split) -> str:
    return f"{split}.bin"


def _damaged(path: Path, detail: str) -> DataError:
    return DataError(
        f"the token cache is damaged: {detail}",
        where=str(path),
        mend=f"remove the folder '{path.parent}'; it is made again from the dataset",
    )
