"""Sentence encoders: texts that belong together get vectors that are near to each other, others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError, UsageError
from llmkit.stages import models
from llmkit.stages.tuning.task import Given, Split, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmkit.data.chat import Example
    from llmkit.data.schemas import ExampleSchema, PreferenceExample
    from llmkit.evaluation.result import ItemRecord
    from llmkit.models.sentence_files import Role
    from llmkit.stages.tuning.seen import Seen
    from llmkit.train.contrastive import Anchored, Texts
    from llmkit.train.lengths import Fitted
    from llmkit.train.samples import Batch, IntArray

PROBED = 4
"""Texts on which the saved adapter is compared with the trained one."""

FEW = 16
"""Pairs of a step from which on nothing is said: sentence-transformers' default batch."""


@dataclass(frozen=True)
class Written:
    """Texts that belong together, the anchor first, as they are and as the encoder reads them."""

    texts: Sequence[tuple[str, Role]]
    row: Anchored

    def __len__(self) -> int:
        return len(self.row)

    @property
    def where(self) -> str:
        return self.row.where


class Embedding(Task):
    """Contrastive training: prompts are anchors, their completions (or chosen answers) the positives.

    A rejected answer is a hard negative; all other documents of the step are negatives too.
    """

    schema: ClassVar[ExampleSchema] = "chat"
    metrics: ClassVar[Sequence[str]] = ("mrr", "recall@1", "recall@10")
    whole: ClassVar[str] = "a text has one vector"
    rows_of_a_sample: ClassVar[int] = 2

    def __init__(self, given: Given) -> None:
        from llmkit.models.encoders import load_encoder

        super().__init__(given)
        _require_whole_steps(self.cfg.batch_size, self.cfg.micro_batch_size)
        self.encoder = load_encoder(
            self.paths["model"], adapter=self.paths.get("adapter"), trainable=True, weights=self.weights
        )
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

    @property
    def aim(self) -> str:
        return "the anchor is nearer to its positive than to every other document of the step"

    @property
    def reads(self) -> ExampleSchema:
        return "preference" if self.dataset.schema == "preference" else "chat"

    def fitted(self, examples: Iterable[Example | PreferenceExample]) -> Fitted[Written]:
        from llmkit.train.lengths import Shortening, fit

        def cut(example: Written, limit: int) -> Written:
            return self._encoded(example.texts, example.where, limit)

        rows = (self._encoded(*_texts(example)) for example in examples)
        return fit(rows, self.limit, self.cfg.over_length, Shortening(cut, called=_called))

    def sizes(self, examples: Sequence[Written]) -> Mapping[str, int]:
        rows = [example.row for example in examples]
        texts = [text for row in rows for text in (row.anchor, row.positive, row.negative) if text is not None]
        return {"tokens": sum(map(len, texts))}

    def samples(self, examples: Sequence[Written], split: Split) -> Texts:
        from llmkit.train.contrastive import Texts, check_apart

        rows = [example.row for example in examples]
        if split == "train" and self.weights:
            check_apart(rows)
        return Texts(rows, batch_size=self.cfg.batch_size, seed=self.cfg.seed, shuffle=split == "train")

    def seen(self, examples: Sequence[Written]) -> Sequence[Seen]:
        from llmkit.stages.tuning.seen import Seen, handed, whole
        from llmkit.train.contrastive import ContrastiveBatch
        from llmkit.train.samples import Batch

        anchors, count = whole(self.samples(examples, "train"), len(examples)), len(examples)
        assert isinstance(anchors, ContrastiveBatch)  # noqa: S101  # these samples make no others
        documents = Batch(anchors.documents, anchors.labels)
        told = []
        for number, example in enumerate(examples):
            places = [(anchors, number, "anchor"), (documents, number, "positive")]
            if example.row.negative is not None:
                places.append((documents, count + number, "negative"))
            told.append(
                Seen(
                    [
                        handed(batch, row, int(batch.inputs["attention_mask"][row].sum()), title=title)
                        for batch, row, title in places
                    ]
                )
            )
        return told

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        from llmkit.train.contrastive import contrastive_loss

        return contrastive_loss(self.encoder.pooling)(model, batch)

    def records(self, model: nn.Module) -> list[ItemRecord]:
        from llmkit.evaluation.aggregate import score
        from llmkit.evaluation.result import ItemRecord
        from llmkit.stages.tuning.scoring import spread
        from llmkit.train.contrastive import encode, ranks

        rows = [example.row for example in spread(self.held.examples)]
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

        rows = [example.row for example in self.training.examples[:PROBED]]
        found = Texts(rows, batch_size=len(rows), seed=0, shuffle=False)
        batch = found.batch([Sample(0, number) for number in range(len(rows))], len(rows))
        return Batch(batch.inputs, batch.labels)

    def complete(self, out: Path) -> None:
        from llmkit.models.encoders import save_sentence_files

        width = int(self.loaded.model.config.hidden_size)
        save_sentence_files(self.paths["model"], out, width=width, limit=self.limit)

    def _encoded(self, texts: Sequence[tuple[str, Role]], where: str, limit: int | None = None) -> Written:
        from llmkit.train.contrastive import Anchored

        anchor, positive, *negative = (self._ids(text, role, limit) for text, role in texts)
        return Written(texts, Anchored(anchor, positive, negative[0] if negative else None, where))

    def _ids(self, text: str, role: Role, limit: int | None) -> IntArray:
        import numpy as np

        how: Mapping[str, Any] = {"truncation": True, "max_length": limit} if limit else {"truncation": False}
        written = self.encoder.written(text, role)
        # What the tokenizer's own file says of padding and length is for other uses.
        encoded = self.loaded.tokenizer(written, padding=False, verbose=False, **how)
        return np.array(encoded["input_ids"], dtype=np.int64)


def _called(_: Written) -> str:
    return "a text"


def _texts(example: Example | PreferenceExample) -> tuple[Sequence[tuple[str, Role]], str]:
    """Anchor, positive and perhaps negative of an example, of which one turn of the user is asked; and its place."""
    from llmkit.data.schemas import PreferenceExample

    where = f"{example.source}:{example.record}"
    if isinstance(example, PreferenceExample):
        for answer in (example.chosen, example.rejected):
            _one_turn([message.role for message in (*example.prompt, *answer)], where)
        chosen, rejected = example.chosen[0].content, example.rejected[0].content
        return ((example.prompt[0].content, "query"), (chosen, "document"), (rejected, "document")), where
    _one_turn([message.role for message in example.messages], where)
    return ((example.prompt[0].content, "query"), (example.completion, "document")), where


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
