"""The two kinds of encoder: BERT folders by the forward pass of our own, everything else by sentence-transformers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.retrieval.bert import BertShape, NumpyOps, Ops, TorchOps, normalised, one_thread, sentence_vectors
from llmkit.retrieval.embed import EncoderFolder, Role, Vectors, read_json

T = TypeVar("T")
R = TypeVar("R")

NUMPY_TOKENS = 2048
"""Up to here NumPy is done before torch would be imported (about 1 s each, 2-core CPU)."""
BATCH_TOKENS = 2560
"""Padded tokens in a batch: what stays in a CPU's cache. 8 to 16 texts of 160 tokens ran 10% faster than 64."""
GPU_BATCH_TOKENS = 65_536
PAD_TO = 16
"""Lengths are rounded up to this, so that oneDNN meets few shapes."""


class BertEmbedder:
    """A sentence-transformers folder with a BERT, mean pooling and normalisation, such as all-MiniLM-L6-v2."""

    def __init__(self, folder: EncoderFolder, *, device: str = "cpu") -> None:
        self.name = folder.name
        self.digest = folder.digest
        self._path = folder.path
        self._device = device
        config = read_json(folder.path / "config.json")
        self.dimension = int(str(config["hidden_size"]))
        self._shape = BertShape(
            layers=int(str(config["num_hidden_layers"])),
            heads=int(str(config["num_attention_heads"])),
            eps=float(str(config["layer_norm_eps"])),
        )
        limit = read_json(folder.path / "sentence_bert_config.json").get("max_seq_length")
        self._length = int(str(limit or config["max_position_embeddings"]))
        self.max_tokens = self._length - 2  # [CLS] and [SEP]

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether the forward pass in `bert.py` is this model's."""
        config = read_json(path / "config.json")
        pooling = read_json(path / "1_Pooling" / "config.json")
        prompts = read_json(path / "config_sentence_transformers.json").get("prompts") or {}
        return (
            config.get("model_type") == "bert"
            and config.get("hidden_act") == "gelu"
            and config.get("position_embedding_type", "absolute") == "absolute"
            and pooling.get("pooling_mode_mean_tokens") is True
            and sum(value is True for key, value in pooling.items() if key.startswith("pooling_mode")) == 1
            and not any(prompts.values() if isinstance(prompts, dict) else ())
            and not (path / "2_Dense").exists()
            and (path / "tokenizer.json").is_file()
            and (path / "model.safetensors").is_file()
        )

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        distinct = list(dict.fromkeys(texts))
        place = {text: n for n, text in enumerate(distinct)}
        vectors = self._encode_distinct(distinct)
        return vectors[[place[text] for text in texts]]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [
            len(encoding) for encoding in self._tokenizer.encode_batch_fast(encodable(texts), add_special_tokens=False)
        ]

    def unknown_tokens(self, texts: Sequence[str]) -> int:
        unknown = self._tokenizer.token_to_id("[UNK]")
        encoded = self._tokenizer.encode_batch_fast(encodable(texts), add_special_tokens=False)
        return sum(encoding.ids.count(unknown) for encoding in encoded)

    def _encode_distinct(self, texts: list[str]) -> Vectors:
        whole = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(encodable(texts))]
        length, end = self._length, self._end
        ids = [row if len(row) <= length else [*row[: length - len(end)], *end] for row in whole]
        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return out
        batches = _batches([len(row) for row in ids], BATCH_TOKENS if self._device == "cpu" else GPU_BATCH_TOKENS)
        if sum(map(len, ids)) <= NUMPY_TOKENS:
            with one_thread():
                for rows in batches:
                    out[rows] = sentence_vectors(self._numpy, self._shape, *_padded(ids, rows, self._length))
            return out

        ops, bf16 = self._torch, self._bf16

        def encode(rows: list[int]) -> tuple[list[int], Vectors]:
            with _inference(self._device, bf16=bf16):
                return rows, sentence_vectors(ops, self._shape, *_padded(ids, rows, self._length))

        for rows, vectors in _side_by_side(encode, batches, self._device):
            out[rows] = vectors
        return out

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._path / "tokenizer.json"))
        # The file bakes in a length of 128: chunks would be cut in silence and questions padded for nothing.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _end(self) -> list[int]:
        """What every text ends with: [SEP], or nothing where the tokenizer marks no ends."""
        ends: list[int] = self._tokenizer.encode_batch_fast([""])[0].ids[-1:]
        return ends

    @cached_property
    def _numpy(self) -> Ops:
        return NumpyOps(self._weights())

    @cached_property
    def _torch(self) -> Ops:
        return TorchOps(self._weights(), self._device)

    @cached_property
    def _bf16(self) -> bool:
        return bf16_is_faster(self._device)

    def _weights(self) -> Mapping[str, NDArray[np.float32]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._path / "model.safetensors"
        try:
            weights = {name.removeprefix("bert."): value for name, value in load_file(path).items()}
        except (SafetensorError, OSError) as error:
            raise DataError("not a readable safetensors file", where=str(path), mend="get the encoder again") from error
        return {name: value.astype(np.float32, copy=False) for name, value in weights.items() if value.ndim < 3}


class SentenceTransformerEmbedder:
    """Any other sentence-transformers folder; its own prompts for questions and documents are used."""

    def __init__(self, folder: EncoderFolder, *, device: str = "cpu") -> None:
        self.name = folder.name
        self.digest = folder.digest
        self._path = folder.path
        self._device = device

    @property
    def dimension(self) -> int:
        return int(self._model.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        special = self._model.tokenizer.num_special_tokens_to_add()
        return int(self._model.max_seq_length or 512) - int(special)

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        distinct = list(dict.fromkeys(texts))
        place = {text: n for n, text in enumerate(distinct)}
        encode = self._model.encode_query if role == "query" else self._model.encode_document
        vectors = np.asarray(encode(encodable(distinct), show_progress_bar=False), dtype=np.float32)
        return normalised(vectors.reshape(len(distinct), self.dimension))[[place[text] for text in texts]]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._ids(texts)]

    def unknown_tokens(self, texts: Sequence[str]) -> int:
        unknown = self._model.tokenizer.unk_token_id
        return sum(ids.count(unknown) for ids in self._ids(texts)) if unknown is not None else 0

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded = self._model.tokenizer(encodable(texts), add_special_tokens=False, truncation=False, verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(str(self._path), device=self._device, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"not a sentence-transformers model ({error})",
                where=str(self._path),
                mend="name a folder or Hub id that sentence-transformers loads",
            ) from error


def encodable(texts: Sequence[str]) -> list[str]:
    """Texts without lone surrogates, which tokenizers refuse."""
    return [text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts]


def bf16_is_faster(device: str) -> bool:
    """Whether a bf16 product of this encoder's shape beats float32 here: without hardware for it, it is many times
    slower (pytorch #86270)."""
    import torch

    if device != "cpu":
        return device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
        a @ b
        runs = []
        for _ in range(5):
            start = time.perf_counter()
            a @ b
            runs.append(time.perf_counter() - start)
        return min(runs)

    return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Indices of texts in batches of similar length, the longest first (if memory is short, it shows at once)."""
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    start = 0
    while start < len(order):
        size = max(1, most // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


@contextmanager
def _inference(device: str, *, bf16: bool) -> Iterator[None]:
    import torch

    with torch.inference_mode(), torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=bf16):
        yield


def _side_by_side(work: Callable[[T], R], items: Iterable[T], device: str) -> Iterator[R]:
    """`work` on each item, in order: on a CPU each core has an item of its own and one torch thread.

    torch's threads inside one product wait for each other by spinning. On 2 idle cores two batches side by side are 15%
    faster than one after the other on two threads; on 2 cores that others use too, three times.
    """
    import torch

    if device != "cpu":
        yield from map(work, items)
        return
    before = torch.get_num_threads()
    # Only Linux says how many cores this process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread started later would take over the number that was set last.
        torch.set_num_threads(before)


def _padded(
    texts: Sequence[Sequence[int]], chosen: Sequence[int], longest: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    rows = [texts[n] for n in chosen]
    width = max(map(len, rows))
    width = min(-(-width // PAD_TO) * PAD_TO, longest) if len(rows) > 1 else width
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.bool_)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
        mask[n, : len(row)] = True
    return ids, mask
