"""An encoder behind an OpenAI-compatible endpoint: OpenAI, vLLM, Ollama, llama.cpp, text-embeddings-inference."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from llmkit.errors import DataError, LlmkitError, NotFoundError, RunError, UnavailableError
from llmkit.models.sentence_files import Role
from llmkit.models.server import Reply, Server, context_of
from llmkit.retrieval.bert import normalised
from llmkit.retrieval.embed import Vectors

BATCH = 32
"""Texts in a request: the most that text-embeddings-inference takes as it comes."""
AT_ONCE = 4
"""Requests under way together: a server that is far away is waited for by several."""
CONTEXT = 512
"""Tokens that a model reads whose server does not say it: BERT's, and the least that is common."""
PROBES = (
    "The library opens at nine, and everyone who lives in the town may borrow books for three weeks.",
    "図書館は九時に開館し、町に住んでいる人は誰でも三週間まで本を借りることができます。",
)
"""Embedded to know the model again, and to learn how many characters its tokens have: ASCII, and the rest."""
SAME = 0.999
"""Least cosine of two vectors of one text by one model: servers round differently from batch to batch (some 1e-4)."""
RATES = (3.0, 1.0)
"""Characters per token, of ASCII and of the rest, where the server does not count: fewer than nearly all have."""
MARGIN = 0.8
"""Of what was counted: other texts have shorter tokens."""


class RemoteEmbedder:
    """A model of an endpoint. What it embeds is as secret as the address it goes to."""

    def __init__(self, server: Server, model: str, digest: str = "") -> None:
        """
        Args:
            model: a name from the server's list of models.
            digest: of the model's space, as found by `fingerprint`.
        """
        self.name = f"{model} at {server.base_url}"
        self.digest = digest
        self._server = server
        self._model = model

    def fingerprint(self) -> Vectors:
        """Vectors [2, d] by which the model is known again: `is_same` tells."""
        return self.encode(PROBES)

    @cached_property
    def dimension(self) -> int:
        return int(self._embedded([PROBES[0]])[0].shape[1])

    @cached_property
    def max_tokens(self) -> int:
        try:
            content = self._server.get("models").content
        except LlmkitError:  # not every server has a list
            content = None
        rows = content.get("data") if isinstance(content, Mapping) else None
        row = next((row for row in rows or () if isinstance(row, Mapping) and row.get("id") == self._model), {})
        found = context_of(row) or CONTEXT
        return max(16, found - 2)  # most put a mark before and one behind

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        """As the protocol has it: it knows no roles. A server that wants prompts puts them there itself.

        Raises:
            UnavailableError: nothing answers, or it wants a key.
            NotFoundError: the server has no such model, or embeds nothing.
            DataError: it refuses a text.
            RunError: it kept failing, or its reply is not what the protocol says.
        """
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return np.zeros((0, self.dimension), dtype=np.float32)
        place = {text: n for n, text in enumerate(distinct)}
        # Of similar length: a server pads a batch to its longest.
        order = sorted(range(len(distinct)), key=lambda n: -len(distinct[n]))
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        found = dict.fromkeys(order, np.zeros(0, dtype=np.float32))
        try:
            for rows, vectors in self._answers(distinct, batches):
                found.update(zip(rows, vectors, strict=True))
        except (RunError, UnavailableError) as error:
            if len(batches) > 1:
                error.mend = f"{error.mend}; what is stored stays, and the next run goes on from there"
            raise
        if len({len(vector) for vector in found.values()}) != 1:
            raise self._not_the_protocol("vectors of several lengths")
        return normalised(np.stack([found[place[text]] for text in texts]))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """At least about as many as there are: only the server could tell."""
        ascii_rate, other_rate = self._rates
        counts = []
        for text in texts:
            other = sum(character >= "\x80" for character in text)
            counts.append(math.ceil((len(text) - other) / ascii_rate + other / other_rate))
        return counts

    def unknown_tokens(self, texts: Sequence[str]) -> int:
        return 0

    @cached_property
    def _rates(self) -> tuple[float, float]:
        """Characters per token, of ASCII and of the rest, by the server's own counts of the probes."""
        counted = [self._embedded([probe])[1] for probe in PROBES]
        rates = [
            MARGIN * len(probe) / max(1, tokens - 2) if tokens else assumed
            for probe, tokens, assumed in zip(PROBES, counted, RATES, strict=True)
        ]
        return rates[0], rates[1]

    def _answers(self, texts: Sequence[str], batches: Sequence[list[int]]) -> Iterator[tuple[list[int], Vectors]]:
        def answer(rows: list[int]) -> tuple[list[int], Vectors]:
            return rows, self._embedded([texts[n] for n in rows])[0]

        if len(batches) == 1:
            yield answer(batches[0])
            return
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            yield from pool.map(answer, batches)
        finally:
            pool.shutdown(cancel_futures=True)

    def _embedded(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Vectors of texts, and the server's count of their tokens (0 where it has none)."""
        # An empty text is refused by several servers; lone surrogates are no UTF-8.
        sent = [text.encode("utf-8", "replace").decode("utf-8") or " " for text in texts]
        reply = self._server.post("embeddings", {"model": self._model, "input": sent, "encoding_format": "float"})
        if not reply.ok:
            if reply.status in (400, 413, 422) and len(texts) > 1:
                # Too many texts, or too many tokens together: no two servers say it alike.
                half = len(texts) // 2
                parts = [self._embedded(texts[:half]), self._embedded(texts[half:])]
                return np.concatenate([vectors for vectors, _ in parts]), sum(tokens for _, tokens in parts)
            raise self._refused(reply, texts)
        return self._vectors(reply, len(texts)), _tokens(reply.content)

    def _vectors(self, reply: Reply, count: int) -> Vectors:
        try:
            rows = {int(row["index"]): row["embedding"] for row in reply.content["data"]}
            found = np.array([rows[n] for n in range(count)], dtype=np.float32)
        except (LookupError, TypeError, ValueError):
            raise self._not_the_protocol(f"not {count} vectors") from None
        if len(rows) != count or found.ndim != 2 or not found.shape[1] or not np.isfinite(found).all():
            raise self._not_the_protocol(f"not {count} vectors of numbers")
        return found

    def _refused(self, reply: Reply, texts: Sequence[str]) -> LlmkitError:
        said = f"HTTP {reply.status}{f': {reply.reason}' if reply.reason else ''}"
        if reply.status in (404, 405, 501):
            return NotFoundError(
                f"the server embeds nothing under the name '{self._model}' ({said})",
                where=self._server.base_url,
                mend="check the name, and that the address ends in /v1; a chat model is no encoder",
            )
        longest = max(map(len, texts))
        return DataError(
            f"the endpoint refuses a text of {longest:,} characters ({said})",
            where=self._server.base_url,
            mend="if it is too long for the model, use a smaller --chunk-size",
        )

    def _not_the_protocol(self, what: str) -> RunError:
        return RunError(
            f"the reply is not that of an OpenAI embeddings endpoint: {what}",
            where=self._server.base_url,
            mend="check that the address ends in /v1 and that the model embeds",
        )


def is_same(left: Vectors, right: Vectors) -> bool:
    """Whether two fingerprints are of one model."""
    return left.shape == right.shape and bool(((left * right).sum(axis=1) >= SAME).all())


def space_digest(address: str, fingerprint: Vectors) -> str:
    """A digest of an endpoint's space, of the address with the model's name and the vectors when first seen."""
    coarse = np.round(fingerprint.astype(np.float64), 3) + 0.0  # no -0
    return hashlib.sha256(address.encode() + b"\0" + coarse.tobytes()).hexdigest()


def _tokens(content: Any) -> int:
    usage = content.get("usage") if isinstance(content, Mapping) else None
    counted = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return int(counted) if isinstance(counted, int | float) and counted > 0 else 0
