"""Prompts and completions for models that read a text and write another (T5): the loss is on what is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError, UsageError
from llmkit.stages import models
from llmkit.stages.tuning.causal import PROBED
from llmkit.stages.tuning.spoken import ANSWER_TOKENS
from llmkit.stages.tuning.table import rate_notes
from llmkit.stages.tuning.task import SHOWN, Given, Split, Task

if TYPE_CHECKING:
    from torch import nn

    from llmkit.data.chat import Example
    from llmkit.data.schemas import ExampleSchema
    from llmkit.evaluation.result import ItemRecord
    from llmkit.generation.local import LocalModel
    from llmkit.stages.tuning.seen import Seen
    from llmkit.train.answers import Answered, Answers
    from llmkit.train.lengths import Fitted
    from llmkit.train.samples import Batch


class Seq2Seq(Task):
    """The prompt goes to the encoder as generation puts it there, the completion with eos to the decoder."""

    schema: ClassVar[ExampleSchema] = "chat"
    metrics: ClassVar[Sequence[str]] = ("loss",)
    likelihood: ClassVar[bool] = True
    whole: ClassVar[str] = "the second half of an answer answers no prompt"

    def __init__(self, given: Given) -> None:
        from llmkit.models.load import load_model

        super().__init__(given)
        self.loaded = load_model(
            self.paths["model"], adapter=self.paths.get("adapter"), trainable=True, weights=self.weights
        )
        if self.loaded.objective != "seq2seq":
            raise UsageError(
                f"a {self.loaded.objective} model has no encoder and decoder",
                mend="use a seq2seq model, such as t5; or --task chat for a causal one",
            )
        models.check_context(self.loaded.context, self.cfg.sequence_length)
        self.limit = self.cfg.sequence_length or self._local.context

    @property
    def notes(self) -> Sequence[str]:
        return rate_notes("seq2seq", self.cfg)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"task": "seq2seq", "limit": self.limit}

    @property
    def aim(self) -> str:
        return "the completion and the token that ends it"

    def fitted(self, examples: Iterable[Example]) -> Fitted[Answered]:
        from llmkit.train.answers import SHORTENING
        from llmkit.train.lengths import fit

        return fit(map(self._row, examples), self.limit, self.cfg.over_length, SHORTENING)

    def sizes(self, examples: Sequence[Answered]) -> Mapping[str, int]:
        trained = sum(len(row.answer) for row in examples)
        return {"tokens": sum(len(row.prompt) for row in examples) + trained, "trained": trained}

    def samples(self, examples: Sequence[Answered], split: Split) -> Answers:
        from llmkit.train.answers import Answers

        cfg = self.cfg
        return Answers(examples, start=self._start, batch_size=cfg.batch_size, seed=cfg.seed, shuffle=split == "train")

    def seen(self, examples: Sequence[Answered]) -> Sequence[Seen]:
        from llmkit.stages.tuning.seen import Seen, handed, next_tokens, whole
        from llmkit.train.samples import Batch

        batch = whole(self.samples(examples, "train"), len(examples))
        decoder = Batch({"input_ids": batch.inputs["decoder_input_ids"]}, batch.labels)
        return [
            Seen(
                [
                    handed(batch, row, int(batch.inputs["attention_mask"][row].sum()), title="the encoder reads"),
                    next_tokens(decoder, row, 0, len(example.answer), "the decoder learns"),
                ]
            )
            for row, example in enumerate(examples)
        ]

    def records(self, model: nn.Module) -> list[ItemRecord]:
        from llmkit.evaluation.aggregate import score
        from llmkit.evaluation.result import ItemRecord
        from llmkit.stages.tuning.scoring import spread
        from llmkit.train.answers import answers_nll

        rows = spread(self.held.examples)
        return [
            ItemRecord(
                id=f"{number}:{row.where}",
                cluster=row.where or str(number),
                scores={"nll_per_token": score("finetune-lora", row.where, "loss", nll, tokens)},
            )
            for number, (row, (nll, tokens)) in enumerate(zip(rows, answers_nll(model, rows, self._start), strict=True))
        ]

    def shown(self) -> list[Mapping[str, str]]:
        return [{"prompt": example.prompt[-1].content, "gold": example.completion} for example in self._questions]

    def answers(self, model: nn.Module) -> list[str]:
        from llmkit.generation.sampling import Sampling
        from llmkit.stages.sampling import speaking

        sampling = Sampling(max_tokens=ANSWER_TOKENS, seed=self.cfg.seed)
        with speaking(self.loaded, model) as local:
            return [local.generate(_messages(example), sampling).text for example in self._questions]

    def fresh(self) -> Any:
        from llmkit.models.load import load_model

        return load_model(self.paths["model"]).model

    def probe(self) -> Batch:
        from llmkit.train.answers import Answers
        from llmkit.train.samples import Sample

        rows = self.training.examples[:PROBED]
        found = Answers(rows, start=self._start, batch_size=len(rows), seed=0, shuffle=False)
        return found.batch([Sample(0, number) for number in range(len(rows))], len(rows))

    @property
    def _start(self) -> int:
        start: int | None = self.loaded.model.config.decoder_start_token_id
        if start is None:
            raise DataError(
                "the model does not say which token its decoder begins with",
                where=str(self.paths["model"]),
                mend="set decoder_start_token_id in its config.json; T5 begins with the pad token",
            )
        return start

    @cached_property
    def _local(self) -> LocalModel:
        from llmkit.generation.local import LocalModel

        return LocalModel(self.loaded.model, self.loaded.tokenizer, self.loaded.objective)

    @cached_property
    def _questions(self) -> list[Example]:
        return [example for example in self.dataset.examples("validation") if example.prompt][:SHOWN]

    def _row(self, example: Example) -> Answered:
        import numpy as np

        from llmkit.train.answers import Answered

        tokenizer, where = self.loaded.tokenizer, f"{example.source}:{example.record}"
        _check_turns(example, where, templated=bool(tokenizer.chat_template))
        if tokenizer.eos_token_id is None:
            raise DataError(
                "the tokenizer has no end-of-text token, so a model could not learn to stop",
                where=str(self.paths["model"]),
                mend="set eos_token in its tokenizer_config.json",
            )
        # As `ask` and `serve` will put it: through the chat template where there is one, else as it is.
        asked = self._local.encode_messages(_messages(example))
        said = tokenizer.encode(example.completion, add_special_tokens=False)
        closed = asked[-1] in tokenizer.all_special_ids
        return Answered(np.array(asked, np.int64), np.array([*said, tokenizer.eos_token_id], np.int64), where, closed)


def _messages(example: Example) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in example.prompt]


def _check_turns(example: Example, where: str, *, templated: bool) -> None:
    if not example.prompt:
        raise DataError(
            "a model that reads and writes needs a prompt to read, and this is a plain text",
            where=where,
            mend="give rows with `prompt` and `completion`",
        )
    if len(example.prompt) > 1 and not templated:
        raise DataError(
            "a conversation of several turns needs a chat template, and the model's tokenizer has none",
            where=where,
            mend="give rows with `prompt` and `completion`, the prompt as one text",
        )
