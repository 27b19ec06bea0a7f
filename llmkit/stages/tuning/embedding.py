"""Sentence encoders: texts that belong together get vectors that are near to each other, others do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError, UsageError
from llmkit.stages import models
from llmkit.stages.tuning.task import Given, Part, Split, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmkit.data.schemas import ExampleSchema
    from llmkit.evaluation.result import ItemRecord
    from llmkit.models.sentence_files import Role
    from llmkit.train.contrastive import Anchored
    from llmkit.train.samples import Batch, IntArray

PROBED = 4
"""Texts on which the saved adapter is compared with the trained one."""

FEW = 16
"""Pairs of a step from which on nothing is said: sentence-transformers' default batch."""


class Embedding(Task):
    """Contrastive training: prompts are anchors, their completions (or chosen answers) the positives.

    A rejected answer is a hard negative; all other documents of the step are negatives too.
    """

    schema: ClassVar[ExampleSchema] = "chat"
    metrics: ClassVar[Sequence[str]] = ("mrr", "recall@1", "recall@10")

    def __init__(self, given: Given) -> None:
        from llmkit.models.encoders import load_encoder

        super().__init__(given)
        _require_whole_steps(self.cfg.batch_size, self.cfg.micro_batch_size)
        self.encoder = load_encoder(self.paths["model"], adapter=self.paths.get("adapter"), trainable=True)
        self.loaded = self.encoder.loaded
        models.check_context(self.loaded.context, self.cfg.sequence_length)
        self.limit = self.cfg.sequence_length or self.encoder.limit or models.UNKNOWN_CONTEXT

    @property
    def notes(self) -> Sequence[str]:
        if self.cfg.batch_size >= FEW:
            return []
        return [
            f"in a step of {self.cfg.batch_size} pairs a text is told from {self.cfg.batch_size - 1} others only; "
            "with --batch-size 32 or more it learns more of each"
        ]

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"task": "embed", "pooling": self.encoder.pooling, "limit": self.limit}

    def part(self, split: Split) -> Part:
        from llmkit.train.contrastive import Texts, check_apart

        rows, counts = self._read[split]
        if not rows:
            return Part(None, counts)
        if split == "train":
            check_apart(rows)
        shuffle = split == "train"
        return Part(Texts(rows, batch_size=self.cfg.batch_size, seed=self.cfg.seed, shuffle=shuffle), counts)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        from llmkit.train.contrastive import contrastive_loss

        return contrastive_loss(self.encoder.pooling)(model, batch)

    def records(self, model: nn.Module) -> list[ItemRecord]:
        from llmkit.evaluation.aggregate import score
        from llmkit.evaluation.result import ItemRecord
        from llmkit.stages.tuning.scoring import spread
        from llmkit.train.contrastive import encode, ranks

        rows = spread(self._read["validation"][0])
        if not rows:
            return []
        pooling = self.encoder.pooling
        anchors = encode(model, [row.anchor for row in rows], pooling)
        documents = encode(model, [row.positive for row in rows], pooling)

        def item(number: int, row: Anchored, rank: int) -> ItemRecord:
            name = f"{number}:{row.where}"
            found = {"mrr": 1 / rank, "recall@1": float(rank <= 1), "recall@10": float(rank <= 10)}
            scores = {what: score("finetune-lora", name, what, value) for what, value in found.items()}
            return ItemRecord(id=name, cluster=row.anchor.tobytes().hex()[:64], scores=scores)

        ranked = zip(rows, ranks(rows, anchors, documents), strict=True)
        return [item(number, row, rank) for number, (row, rank) in enumerate(ranked)]

    def fresh(self) -> Any:
        from llmkit.models.encoders import load_encoder

        return load_encoder(self.paths["model"]).loaded.model

    def probe(self) -> Batch:
        from llmkit.train.contrastive import Texts
        from llmkit.train.samples import Batch, Sample

        rows = self._read["train"][0][:PROBED]
        found = Texts(rows, batch_size=len(rows), seed=0, shuffle=False)
        batch = found.batch([Sample(0, number) for number in range(len(rows))], len(rows))
        return Batch(batch.inputs, batch.labels)

    def complete(self, out: Path) -> None:
        from llmkit.models.encoders import save_sentence_files

        width = int(self.loaded.model.config.hidden_size)
        save_sentence_files(self.paths["model"], out, width=width, limit=self.limit)

    @cached_property
    def _read(self) -> Mapping[str, tuple[list[Anchored], Mapping[str, int]]]:
        """The rows of each split in tokens, with their counts."""
        return {split: self._rows(split) for split in ("train", "validation")}

    def _rows(self, split: Split) -> tuple[list[Anchored], Mapping[str, int]]:
        from llmkit.train.contrastive import Anchored

        kept: list[Anchored] = []
        longest = dropped = truncated = 0
        for where, anchor, positive, negative in self._texts(split):
            written: list[tuple[str, Role]] = [(anchor, "query"), (positive, "document")]
            if negative:
                written.append((negative, "document"))
            ids = [self._ids(text, role) for text, role in written]
            length = max(map(len, ids))
            longest = max(longest, length)
            if length > self.limit:
                self._refuse(length, where)
                if self.cfg.over_length == "drop":
                    dropped += 1
                    continue
                truncated += 1
                ids = [self._ids(text, role, cut=True) for text, role in written]
            kept.append(Anchored(ids[0], ids[1], ids[2] if negative else None, where))
        if not kept and split == "train":
            raise DataError(
                f"no pair is left: the longest text has {longest} tokens and the limit is {self.limit}",
                mend="use --over-length truncate: an encoder reads the beginning of a text",
            )
        texts = [text for row in kept for text in (row.anchor, row.positive, row.negative) if text is not None]
        counts = {"examples": len(kept), "tokens": sum(map(len, texts)), "longest": longest, "limit": self.limit}
        return kept, {**counts, "dropped": dropped, "truncated": truncated, "split": 0}

    def _refuse(self, length: int, where: str) -> None:
        if self.cfg.over_length in ("error", "split"):
            cannot = ", and a text with one vector cannot be split" if self.cfg.over_length == "split" else ""
            raise DataError(
                f"a text has {length} tokens, and the encoder reads {self.limit}{cannot}",
                where=where,
                mend="use --over-length truncate, as an index does, or drop",
            )

    def _ids(self, text: str, role: Role, *, cut: bool = False) -> IntArray:
        import numpy as np

        limit: Mapping[str, Any] = {"truncation": True, "max_length": self.limit} if cut else {"truncation": False}
        written = self.encoder.written(text, role)
        # What the tokenizer's own file says of padding and length is for other uses.
        encoded = self.loaded.tokenizer(written, padding=False, verbose=False, **limit)
        return np.array(encoded["input_ids"], dtype=np.int64)

    def _texts(self, split: Split) -> Iterator[tuple[str, str, str, str | None]]:
        """(where, anchor, positive, negative) of each example, of which one turn of the user is asked."""
        if self.dataset.schema == "preference":
            for each in self.dataset.examples(split, "preference"):
                where = f"{each.source}:{each.record}"
                for answer in (each.chosen, each.rejected):
                    _one_turn([message.role for message in (*each.prompt, *answer)], where)
                yield where, each.prompt[0].content, each.chosen[0].content, each.rejected[0].content
            return
        for example in self.dataset.examples(split, "chat"):
            where = f"{example.source}:{example.record}"
            _one_turn([message.role for message in example.messages], where)
            yield where, example.prompt[0].content, example.completion, None


def _one_turn(roles: Sequence[str], where: str) -> None:
    if list(roles) != ["user", "assistant"]:
        raise DataError(
            "two texts that belong together are needed, a prompt and a completion, and this is "
            + ("a plain text" if len(roles) == 1 else f"a conversation of {len(roles)} turns"),
            where=where,
            mend="give rows with `prompt` and `completion`",
        )


def _require_whole_steps(batch_size: int, micro_batch_size: int) -> None:
    from llmkit.train.launch import World

    if batch_size < 2:
        raise UsageError(
            "a step of one pair has no negatives: all others of its batch are what a text is told from",
            mend="use --batch-size 32 or more",
        )
    if 0 < micro_batch_size < batch_size:
        raise UsageError(
            f"with --micro-batch-size {micro_batch_size} a text would be told from {micro_batch_size - 1} others and "
            f"not from the {batch_size - 1} of its batch: that is another loss",
            mend="use a smaller --batch-size, and leave --micro-batch-size out",
        )
    if World.current().size > 1:
        raise UsageError(
            "encoders are tuned by one process: several would tell a text from fewer others", mend="use --processes 1"
        )
