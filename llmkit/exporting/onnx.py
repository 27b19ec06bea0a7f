"""ONNX: a model as a graph that runs without Python or torch, compared with torch's own outputs; and as int8.

The graph is that of `torch.onnx.export` through `torch.export`, with any number of rows and any length. It has no cache
of keys and values: a causal model reads the whole text again for every token it writes.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmkit.errors import RunError, UsageError
from llmkit.exporting.opening import Opened
from llmkit.exporting.packages import package, require
from llmkit.models.encoders import pooled

MODEL, INT8 = "model.onnx", "model-int8.onnx"
TOLERANCE = 1e-4
"""Largest difference to torch's outputs, as a share of the largest output."""
_SHAPES = ((1, 2), (3, 13), (2, 24))
"""Rows and lengths that are compared; none is the one that was traced."""
_LARGE = 1_500_000_000
"""Bytes of weights from which they lie beside the graph: one file of this kind holds 2 GB at most (protobuf)."""
_LIKELIEST_RISK = 0.9
"""Agreement below which an int8 model is told of as another model."""

_TEXTS = (
    "The committee met on Tuesday and put off its decision until the figures for the second quarter are known.",
    'def area(width, height):\n    """The area of a rectangle."""\n    return width * height\n',
    "It was a good film, though rather long; the ending alone is worth the price of the ticket.",
    "How do I read a file line by line? Open it with a context manager and go over it in a for loop.",
    "Water boils at 100 degrees Celsius at sea level, and at about 93 degrees on a mountain of 2,000 metres.",
    "Please send the parts to our workshop in Lyon by the end of the month, as agreed in the contract of 3 May.",
)
"""What an int8 model is compared on: ordinary text, because drawn ids are nothing that a model was made for."""


@dataclass(frozen=True)
class OnnxFacts:
    """What was written and how near it is.

    Attributes:
        inputs, outputs: names in the graph.
        difference: largest absolute difference to torch's outputs; `tolerance`: its limit.
        bytes: of the graph with its weights.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    difference: float
    tolerance: float
    bytes: int


@dataclass(frozen=True)
class Int8Facts:
    """An int8 graph against the float one, on ordinary texts.

    Attributes:
        ratio: its bytes over those of the float graph.
        agreement: share of tokens, or texts, for which both say the same; of an encoder, the least cosine.
        difference: largest absolute difference of outputs; `largest`: the largest output, to compare it with.
    """

    ratio: float
    agreement: float
    difference: float
    largest: float
    bytes: int

    @property
    def doubtful(self) -> bool:
        return self.agreement < _LIKELIEST_RISK


def write_onnx(opened: Opened, folder: Path) -> OnnxFacts:
    """Write `model.onnx` and compare it with torch on other shapes than it was traced with.

    Raises:
        UnavailableError: a package is not installed.
        UsageError: torch cannot make a graph of this architecture.
        RunError: the graph computes something else.
    """
    runtime = package("onnxruntime", "ONNX")
    require(("onnx", "onnxscript"), "ONNX")
    graph = _Graph(opened)
    example = graph.batch(2, 7)
    path = folder / MODEL
    size = sum(each.numel() * each.element_size() for each in opened.model.parameters())
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph,
                tuple(example.values()),
                dynamo=True,
                input_names=list(example),
                output_names=list(graph.outputs),
                dynamic_shapes=(tuple(_dimensions(opened, example)),),
                verbose=False,
            )
        except Exception as error:  # torch's exporter raises of many kinds; all mean that it cannot
            raise UsageError(
                f"torch cannot make an ONNX graph of this {opened.config.model_type} model: {str(error)[:300]}",
                mend="use --to merged, or --to gguf for llama-like models",
            ) from error
        assert program is not None  # noqa: S101  # with dynamo it always is one
        program.save(path, external_data=size > _LARGE)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference, scale = 0.0, 0.0
    for rows, length in _SHAPES:
        batch = graph.batch(rows, min(length, opened.context or length))
        with torch.no_grad():
            wanted = graph(*batch.values())
        got = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
        for left, right in zip(got, wanted, strict=True):
            near, largest = _compared(left, right.numpy(), batch["attention_mask"].numpy())
            difference, scale = max(difference, near), max(scale, largest)
    if not difference <= TOLERANCE * scale:
        raise RunError(
            f"the graph computes something else than the model: outputs differ by {difference:.2g}, "
            f"and reach {scale:.2g}",
            mend="use --to merged, and report this with the model's architecture",
        )
    return OnnxFacts(list(example), graph.outputs, difference, TOLERANCE * scale, _size(folder, MODEL))


def write_int8(opened: Opened, folder: Path) -> Int8Facts:
    """Write `model-int8.onnx` of the graph that is there: int8 weights, activations rounded as they come.

    Weights have a scale for each output channel, and 7 bits, because processors without VNNI add up pairs of products
    in 16 bits (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
    """
    runtime = package("onnxruntime", "ONNX")
    quantization = package("onnxruntime.quantization", "int8")
    with _quiet(), _unannotated(folder) as plain:
        try:
            quantization.quantize_dynamic(
                plain,
                folder / INT8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                use_external_data_format=_size(folder, MODEL) > _LARGE,
            )
        except Exception as error:  # the quantiser, too, raises of many kinds
            raise RunError(
                f"ONNX Runtime cannot make an int8 model of this graph: {str(error)[:300]}",
                mend="leave --int8 out; the float32 graph can be written",
            ) from error
    sessions = [
        runtime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"]) for name in (MODEL, INT8)
    ]
    graph = _Graph(opened)
    agreed: list[float] = []
    difference = largest = 0.0
    for text in _TEXTS:
        ids = opened.tokenizer(text, truncation=opened.context is not None, max_length=opened.context)["input_ids"]
        batch = graph.of(torch.tensor([ids or [0, 0]]))
        feeds = {name: tensor.numpy() for name, tensor in batch.items()}
        exact, rounded = (session.run(None, feeds) for session in sessions)
        agreed += _agreement(opened, exact, rounded)
        for left, right in zip(rounded, exact, strict=True):
            near, most = _compared(left, right, feeds["attention_mask"])
            difference, largest = max(difference, near), max(largest, most)
    together = min(agreed) if opened.use == "embed" else float(np.mean(agreed))
    size = _size(folder, INT8)
    return Int8Facts(size / _size(folder, MODEL), together, difference, largest, size)


class _Graph(nn.Module):
    """A model as tensors in, tensors out: the inputs it needs in a fixed order, and no cache."""

    def __init__(self, opened: Opened) -> None:
        super().__init__()
        self.model, self.use, self.pooling = opened.model, opened.use, opened.facts.get("pooling", "mean")
        takes = inspect.signature(opened.model.forward).parameters
        pairs = "token_type_ids" in takes and "token_type_ids" in opened.tokenizer.model_input_names
        self.names = ["input_ids", "attention_mask", *(["token_type_ids"] if pairs else [])]
        self.extra = {"use_cache": False} if "use_cache" in takes else {}
        if opened.use == "seq2seq":
            self.names.append("decoder_input_ids")
        self.vocabulary = int(opened.model.get_input_embeddings().weight.shape[0])
        self.pad = opened.config.get_text_config().pad_token_id
        # A causal model with a head reads it at the last real token, wherever the pad id may also stand.
        self.scored = opened.use == "sequence" and isinstance(getattr(opened.model, "score", None), nn.Module)

    @property
    def outputs(self) -> tuple[str, ...]:
        if self.use == "span":
            return ("start_logits", "end_logits")
        return ("sentence_embedding", "last_hidden_state") if self.use == "embed" else ("logits",)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.names, tensors, strict=True))
        mask = given["attention_mask"]
        if self.scored:
            states = self.model.base_model(**given, **self.extra)[0]
            scores = self.model.score(states)
            last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, scores.shape[-1])
            return (scores.gather(1, last)[:, 0],)
        made = self.model(**given, **self.extra)
        if self.use == "span":
            return made.start_logits, made.end_logits
        if self.use == "embed":
            return _vectors(made[0], mask, self.pooling), made[0]
        return (made.logits,)

    def batch(self, rows: int, length: int) -> dict[str, Tensor]:
        """Drawn ids; the last row of several ends in padding."""
        source = torch.Generator().manual_seed(rows * 1000 + length)
        ids = torch.randint(self.vocabulary, (rows, length), generator=source)
        mask = torch.ones_like(ids)
        if rows > 1:
            mask[-1, -(length // 3 or 1) :] = 0
        if self.pad is not None:
            ids[mask == 0] = self.pad
        return self.of(ids, mask)

    def of(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The inputs for these ids, shape (rows, length)."""
        made = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids) if mask is None else mask,
            "token_type_ids": torch.zeros_like(ids),
            "decoder_input_ids": ids[:, : max(1, ids.shape[1] - 2)],
        }
        return {name: made[name] for name in self.names}


def _vectors(states: Tensor, mask: Tensor, pooling: Any) -> Tensor:
    if pooling == "lasttoken":  # `pooled` indexes by the number of rows, which a graph does not know
        last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, states.shape[-1])
        return nn.functional.normalize(states.gather(1, last)[:, 0], dim=-1)
    return pooled(states, mask, pooling)


def _dimensions(opened: Opened, example: Mapping[str, Tensor]) -> Iterator[dict[int, Any]]:
    from torch.export import Dim

    rows = Dim("batch", min=1, max=2**20)
    longest = opened.context or 2**20
    length = Dim("length", min=2, max=longest)
    for name in example:
        yield {0: rows, 1: Dim("decoder_length", min=1, max=2**20) if name == "decoder_input_ids" else length}


def _compared(
    left: np.ndarray[Any, Any], right: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]
) -> tuple[float, float]:
    """(largest difference, largest value); of outputs for each token, only where the mask is 1."""
    if left.ndim >= 2 and left.shape[:2] == mask.shape:
        left, right = left[mask == 1], right[mask == 1]
    return float(np.abs(left - right).max()), float(np.abs(right).max())


def _agreement(opened: Opened, exact: Sequence[Any], rounded: Sequence[Any]) -> list[float]:
    """For each token or text, whether both say the same; of encoders and regressions, how near they are."""
    if opened.use == "embed":
        return [float((exact[0] * rounded[0]).sum(-1).min())]
    if opened.use == "sequence" and exact[0].shape[-1] == 1:
        return [float(1 - abs(exact[0] - rounded[0]).max() / max(1e-9, abs(exact[0]).max()))]
    same = [left.argmax(-1) == right.argmax(-1) for left, right in zip(exact, rounded, strict=True)]
    return [float(each) for array in same for each in np.ravel(array)]


@contextlib.contextmanager
def _unannotated(folder: Path) -> Iterator[Path]:
    """The graph without its notes of shapes, beside it: the quantiser turns weights round, which they deny."""
    onnx = package("onnx", "int8")
    graph = onnx.load(str(folder / MODEL), load_external_data=False)
    del graph.graph.value_info[:]
    plain = folder / f".plain-{MODEL}"
    try:
        onnx.save(graph, str(plain))
        yield plain
    finally:
        plain.unlink(missing_ok=True)


def _size(folder: Path, name: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{name}*"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the exporters tell their own developers goes nowhere."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
