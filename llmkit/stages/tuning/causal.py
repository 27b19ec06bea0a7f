"""Chat, and prompts with completions, for models that write: the loss is on what the assistant says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import ConfigError, UsageError
from llmkit.stages.tuning.spoken import Spoken
from llmkit.stages.tuning.task import SHOWN, Part, Split

if TYPE_CHECKING:
    from torch import nn

    from llmkit.data.chat import Example
    from llmkit.data.schemas import ExampleSchema
    from llmkit.evaluation.result import ItemRecord
    from llmkit.stages.tuning.seen import Seen
    from llmkit.train.examples import Rendered
    from llmkit.train.isolation import Isolation
    from llmkit.train.lengths import Fitted
    from llmkit.train.packing import Packed
    from llmkit.train.samples import Batch, Samples

PROBED = 4
"""Examples on which the saved adapter is compared with the trained one."""
ASKED = 8
"""Prompts whose answers are written out to see whether they end."""
MOST_TOKENS = 256
"""Of such an answer, at most; else twice as many as the longest of the wanted answers has, and 16."""


class Causal(Spoken):
    """Next-token training on conversations or pairs: each example a row of its own, or several packed in one."""

    takes: ClassVar[Sequence[str]] = ("template", "learn", "packing", "require_eos", "qlora")
    schema: ClassVar[ExampleSchema] = "chat"
    metrics: ClassVar[Sequence[str]] = ("loss",)
    likelihood: ClassVar[bool] = True

    @property
    def aim(self) -> str:
        return {"assistant": "the assistant's turns", "last": "the assistant's last turn", "all": "every token"}[
            self.cfg.causal.learn
        ]

    def fitted(self, examples: Iterable[Example]) -> Fitted[Rendered]:
        from llmkit.train.examples import SHORTENING
        from llmkit.train.lengths import fit

        return fit(map(self.words.rendered, examples), self.limit, self.cfg.over_length, SHORTENING)

    def sizes(self, examples: Sequence[Rendered]) -> Mapping[str, int]:
        trained = sum(int(example.trained.sum()) for example in examples)
        return {"tokens": sum(map(len, examples)), "trained": trained}

    def part(self, split: Split) -> Part:
        from llmkit.stages.tuning.rendering import check_ends

        if split == "train":
            if self.cfg.causal.require_eos and not any(example.prompt for example in self.dataset.examples()):
                raise UsageError("--require-eos asks prompts, and these are texts without any", mend="leave it out")
            self.warned += check_ends(self.training.examples, self.words, over_length=self.cfg.over_length)
        return super().part(split)

    def samples(self, examples: Sequence[Rendered], split: Split) -> Samples:
        """Rows of one example each, or packed; held-out ones never are: they are measured as they will be used."""
        from llmkit.train.padding import Padded

        cfg = self.cfg
        if split != "train" or not cfg.causal.packing:
            return Padded(examples, batch_size=cfg.batch_size, seed=cfg.seed, shuffle=split == "train")
        samples = self._packed(examples)
        self.remembered.append(
            f"packed into {len(samples):,} rows of {samples.length:,} tokens, {samples.filled:.0%} full: a step of "
            f"{cfg.batch_size} rows has about {cfg.batch_size * len(examples) / len(samples):,.0f} examples"
        )
        return samples

    def _packed(self, examples: Sequence[Rendered]) -> Packed:
        from llmkit.train.packing import Packed, row_length

        length = row_length(self.cfg.sequence_length, self.limit, max(map(len, examples)))
        return Packed(examples, length=length, isolation=self._isolation(length), seed=self.cfg.seed)

    def seen(self, examples: Sequence[Rendered]) -> Sequence[Seen]:
        from llmkit.stages.tuning.seen import Seen, next_tokens, whole

        places = [(row, 0) for row in range(len(examples))]
        if self.cfg.causal.packing:
            packed = self._packed(examples)
            batch = whole(packed, len(packed))
            for row, numbers in enumerate(packed.rows):
                at = 0
                for number in numbers:
                    places[number] = (row, at)
                    at += len(examples[number]) - 1
        else:
            batch = whole(self.samples(examples, "train"), len(examples))
        return [
            Seen([next_tokens(batch, row, at, at + len(example) - 1)])
            for example, (row, at) in zip(examples, places, strict=True)
        ]

    def _isolation(self, length: int) -> Isolation:
        from llmkit.train.isolation import Isolation, isolation_for

        if not self.weights:  # how a row is filled does not depend on what keeps its examples apart
            return Isolation(0, "positions", True)
        try:
            return isolation_for(self.loaded.model, self.loaded.tokenizer.eos_token_id or 0, length)
        except ConfigError as error:
            raise ConfigError(
                error.message.replace("documents", "examples"),
                where="--packing",
                mend="leave it out: examples of like length are then grouped, which wastes little",
            ) from error

    def records(self, model: nn.Module) -> list[ItemRecord]:
        from llmkit.evaluation.aggregate import score
        from llmkit.evaluation.result import ItemRecord
        from llmkit.stages.tuning.scoring import rows_nll, spread

        found = spread(self.held.examples)
        scored = rows_nll(model, found)
        return [
            ItemRecord(
                id=f"{number}:{example.where}",
                cluster=example.where or str(number),
                scores={"nll_per_token": score("finetune-lora", example.where, "loss", nll, tokens)},
            )
            for number, (example, (nll, tokens)) in enumerate(zip(found, scored, strict=True))
        ]

    def shown(self) -> list[Mapping[str, str]]:
        return [{"prompt": example.prompt[-1].content, "gold": example.completion} for example in self.questions]

    def endings(self, model: nn.Module) -> Mapping[str, Any]:
        from llmkit.stages.tuning.scoring import spread

        held: Split = "validation"
        asked = [example for example in self.dataset.examples(held) if example.prompt]
        if not asked:
            held = "train"
            asked = [example for example in self.dataset.examples(held) if example.prompt]
        asked = spread(asked, ASKED)
        if not asked:
            return {}
        tokenizer = self.loaded.tokenizer
        longest = max(len(tokenizer.encode(example.completion, add_special_tokens=False)) for example in asked)
        most = min(MOST_TOKENS, 2 * longest + 16)
        answers = self.said(model, asked, most)
        ended = sum(said.finish_reason == "stop" for said in answers)
        empty = sum(not said.text.strip() for said in answers)
        facts = {"ended": ended, "of": len(asked), "share": ended / len(asked), "empty": empty}
        return {**facts, "tokens": most, "split": held}

    @property
    def stops(self) -> Sequence[int]:
        # A turn may end with another token than a text does; generation must stop at either.
        from llmkit.train.examples import ends_of

        return sorted(ends_of(self.loaded.tokenizer))

    def probe(self) -> Batch:
        from llmkit.train.padding import Padded
        from llmkit.train.samples import Sample

        found: Sequence[Rendered] = self.training.examples[:PROBED]
        rows = Padded(found, batch_size=len(found), seed=0, shuffle=False)
        return rows.batch([Sample(0, number) for number in range(len(found))], len(found))

    @cached_property
    def questions(self) -> list[Example]:
        return [example for example in self.dataset.examples("validation") if example.prompt][:SHOWN]
