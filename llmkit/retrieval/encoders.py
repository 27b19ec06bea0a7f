"""The two kinds of encoder: BERT folders by the forward pass of our own, everything else by sentence-transformers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.models.sentence_files import Role, read_sentence_files
from llmkit.retrieval.bert import (
    BertShape,
    NumpyOps,
    Ops,
    Pooling,
    TorchOps,
    normalised,
    one_thread,
    sentence_vectors,
)
from llmkit.retrieval.embed import EncoderFolder, Vectors
from llmkit.text.document import Span

T = TypeVar("T")
R = TypeVar("R")

NUMPY_TOKENS = 2048
"""Up to here NumPy is done before torch would be imported (about 1 s each, 2-core CPU)."""
BATCH_TOKENS = 2560
"""Padded tokens in a batch: what stays in a CPU's cache. 8 to 16 texts of 160 tokens ran 10% faster than 64."""
GPU_BATCH_TOKENS = 65_536
_BATCH = 16
"""Texts in a batch of sentence-transformers, on a CPU."""
_FEW = 8
PAD_TO = 16
"""Lengths are rounded up to this, so that oneDNN meets few shapes."""


class BertEmbedder:
    """A sentence-transformers folder with a BERT whose states are pooled in one way, such as all-MiniLM-L6-v2."""

    def __init__(self, folder: EncoderFolder, *, device: str = "cpu") -> None:
        self.name = folder.name
        self.digest = folder.digest
        self._path = folder.path
        self._device = device
        self._files = folder.files()
        config = _config(folder.path)
        self.dimension = int(config["hidden_size"])
        pooling: Any = self._files.pooling[0]
        self._shape = BertShape(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            eps=float(config["layer_norm_eps"]),
            pooling=pooling,
        )
        context = int(config["max_position_embeddings"])
        own = _json(folder.path / "tokenizer_config.json").get("model_max_length") or context
        self._length = int(self._files.limit or min(own, context))

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether the forward pass in `bert.py` is this model's."""
        config, files = _config(path), read_sentence_files(path)
        return (
            config.get("model_type") == "bert"
            and config.get("hidden_act") == "gelu"
            and config.get("position_embedding_type", "absolute") == "absolute"
            and not config.get("is_decoder")
            and [kind for kind in files.kinds if kind != "Normalize"] == ["Transformer", "Pooling"]
            and files.pooling in [(way,) for way in get_args(Pooling)]
            and files.whole
            and not files.lower
            and (path / "tokenizer.json").is_file()
            and (path / "model.safetensors").is_file()
        )

    @cached_property
    def max_tokens(self) -> int:
        marks = int(self._tokenizer.num_special_tokens_to_add(False))
        return self._length - marks - max(self.count_tokens([self._files.prompts.get("document", "")]))

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        distinct = list(dict.fromkeys(texts))
        place = {text: n for n, text in enumerate(distinct)}
        vectors = self._encode_distinct([self._files.written(text, role) for text in distinct])
        return vectors[[place[text] for text in texts]]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [
            len(encoding) for encoding in self._tokenizer.encode_batch_fast(encodable(texts), add_special_tokens=False)
        ]

    def token_spans(self, text: str) -> list[Span]:
        """Where each token stands in the text, in code points; special ones are none."""
        (whole,) = encodable([text])
        return [Span(*place) for place in self._tokenizer.encode(whole, add_special_tokens=False).offsets]

    def unknown_tokens(self, texts: Sequence[str]) -> int:
        known = (self._tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>"))
        unknown = next((number for number in known if number is not None), -1)
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

        ops = self._torch

        def encode(rows: list[int]) -> tuple[list[int], Vectors]:
            with ops.inference():
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
    def _torch(self) -> TorchOps:
        return TorchOps(self._weights(), self._device, bf16=bf16_is_faster(self._device))

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
    """Any other sentence-transformers folder: other architectures, other poolings, further modules."""

    def __init__(self, folder: EncoderFolder, *, device: str = "cpu") -> None:
        self.name = folder.name
        self.digest = folder.digest
        self._path = folder.path
        self._device = device
        self._files = folder.files()

    @property
    def dimension(self) -> int:
        return int(self._model.get_embedding_dimension())

    @cached_property
    def max_tokens(self) -> int:
        marks = int(self._model.tokenizer.num_special_tokens_to_add())
        longest = self._model.max_seq_length or 512
        # A tokenizer that knows no limit says 1e30.
        context = getattr(getattr(self._model[0], "config", None), "max_position_embeddings", None) or longest
        return int(min(longest, context)) - marks - max(self.count_tokens([self._files.prompts.get("document", "")]))

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return np.zeros((0, self.dimension), dtype=np.float32)
        place = {text: n for n, text in enumerate(distinct)}
        encode = self._model.encode_query if role == "query" else self._model.encode_document
        with self._faster(len(distinct)):
            # It sorts by length itself. Its own choice among prompts passes over `passage`.
            found = encode(
                encodable(distinct), prompt=self._files.prompts[role], batch_size=_BATCH, show_progress_bar=False
            )
        vectors = np.asarray(found, dtype=np.float32).reshape(len(distinct), -1)
        return normalised(vectors)[[place[text] for text in texts]]

    @contextmanager
    def _faster(self, texts: int) -> Iterator[None]:
        """bf16 where the machine has it, for all but a question or two: those shall be exact."""
        import torch

        bf16 = texts > _FEW and self._bf16
        with torch.autocast(self._device.split(":")[0], dtype=torch.bfloat16, enabled=bf16):
            yield

    @cached_property
    def _bf16(self) -> bool:
        return bf16_is_faster(self._device)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._ids(texts)]

    def token_spans(self, text: str) -> list[Span] | None:
        """As `BertEmbedder.token_spans`; None where the tokenizer cannot tell."""
        tokenizer = self._model.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            return None
        (whole,) = encodable([text])
        found = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [Span(*place) for place in found["offset_mapping"]]

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


def _config(path: Path) -> dict[str, Any]:
    return _json(path / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(path), mend="get the encoder again") from error
    return found if isinstance(found, dict) else {}


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
