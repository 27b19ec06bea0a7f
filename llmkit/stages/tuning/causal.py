"""Chat, and prompts with completions, for models that write: the loss is on what the assistant says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import ConfigError, UsageError
from llmkit.stages import models
from llmkit.stages.tuning.task import SHOWN, Given, Part, Split, Task

if TYPE_CHECKING:
    from torch import nn

    from llmkit.data.chat import Example
    from llmkit.data.schemas import ExampleSchema
    from llmkit.evaluation.result import ItemRecord
    from llmkit.generation.sampling import Generation
    from llmkit.stages.tuning.rendering import Wording
    from llmkit.train.examples import Fitted, Rendered
    from llmkit.train.isolation import Isolation
    from llmkit.train.samples import Batch, Samples

ANSWER_TOKENS = 40
PROBED = 4
"""Examples on which the saved adapter is compared with the trained one."""
ASKED = 8
"""Prompts whose answers are written out to see whether they end."""
MOST_TOKENS = 256
"""Of such an answer, at most; else twice as many as the longest of the wanted answers has, and 16."""


class Causal(Task):
    """Next-token training on conversations or pairs: each example a row of its own, or several packed in one."""

    takes: ClassVar[Sequence[str]] = ("template", "learn", "packing", "require_eos", "qlora")
    schema: ClassVar[ExampleSchema] = "chat"
    metrics: ClassVar[Sequence[str]] = ("loss",)
    likelihood: ClassVar[bool] = True

    def __init__(self, given: Given) -> None:
        from llmkit.models.load import load_model
        from llmkit.models.tokens import ids_beyond, make_room
        from llmkit.stages.tuning.rendering import wording

        super().__init__(given)
        adapter = self.paths.get("adapter")
        self.loaded = load_model(self.paths["model"], adapter=adapter, trainable=True, quantised=self._quantised)
        if self.loaded.objective != "causal":
            raise UsageError(
                f"a {self.loaded.objective} model cannot be tuned on conversations",
                mend="use a causal model, such as gpt2 or llama",
            )
        self.limit = models.sequence_limit(self.loaded, self.cfg.sequence_length)
        self.words: Wording = wording(self.loaded.tokenizer, self.cfg.task, self.cfg.causal)
        self.chat = self.words.chat
        self._ends: list[str] = []
        self._remarks: list[str] = []
        if self._quantised:
            from llmkit.models.quantised import size

            now, before = size(self.loaded.model)
            self._remarks.append(
                f"the base takes {now / 2**20:,.0f} MiB; in float32 it would take {before / 2**20:,.0f}"
            )
        if self.words.added and "adapter" in self.paths:
            raise UsageError(
                f"this template needs {', '.join(self.words.added)}, and an adapter keeps the tokens that it has",
                mend="tune its base with this --template, or leave it out to go on with the adapter's own",
            )
        beyond = ids_beyond(self.loaded.tokenizer, self.loaded.model)
        self._new_ids = sorted({*self.words.token_ids, *beyond})
        if unknown := [id_ for id_ in beyond if id_ not in self.words.token_ids]:
            said = ", ".join(self.loaded.tokenizer.convert_ids_to_tokens(unknown[:3]))
            self._ends.append(
                f"the model has no embedding for {said}, which its tokenizer has: they are learned with it"
            )
        make_room(self.loaded.model, len(self.loaded.tokenizer) if self._new_ids else 0, self._new_ids)

    @property
    def _quantised(self) -> bool:
        return self.cfg.method == "qlora"

    @property
    def tokens(self) -> Sequence[int]:
        return self._new_ids

    @property
    def notes(self) -> Sequence[str]:
        return [*self.words.notes, *self._ends]

    @property
    def remarks(self) -> Sequence[str]:
        return self._remarks

    @property
    def facts(self) -> Mapping[str, Any]:
        return {**self.words.facts, "limit": self.limit}

    @cached_property
    def training(self) -> Fitted:
        """The examples to train on, in tokens."""
        return self._fitted("train")

    @cached_property
    def held(self) -> Fitted:
        """The examples that are held out, in tokens; there may be none."""
        return self._fitted("validation")

    def part(self, split: Split) -> Part:
        from llmkit.stages.tuning.rendering import check_ends

        found = self.training if split == "train" else self.held
        counts = {
            "examples": len(found.examples),
            "tokens": sum(map(len, found.examples)),
            "trained": sum(int(example.trained.sum()) for example in found.examples),
            "longest": found.longest,
            "limit": self.limit,
            "dropped": found.dropped,
            "truncated": found.truncated,
            "split": found.split,
        }
        if not found.examples:
            return Part(None, counts)
        if split == "train":
            if self.cfg.causal.require_eos and not any(example.prompt for example in self.dataset.examples()):
                raise UsageError("--require-eos asks prompts, and these are texts without any", mend="leave it out")
            self._ends += check_ends(found.examples, self.words, over_length=self.cfg.over_length)
        return Part(self._rows(split, found), counts)

    def _rows(self, split: Split, found: Fitted) -> Samples:
        """What the loop reads; held-out examples are never packed, so that they are measured as they will be used."""
        from llmkit.train.packing import Packed, row_length
        from llmkit.train.padding import Padded

        cfg = self.cfg
        if split != "train" or not cfg.causal.packing:
            return Padded(found.examples, batch_size=cfg.batch_size, seed=cfg.seed, shuffle=split == "train")
        length = row_length(cfg.sequence_length, self.limit, max(map(len, found.examples)))
        samples = Packed(found.examples, length=length, isolation=self._isolation(length), seed=cfg.seed)
        self._remarks.append(
            f"packed into {len(samples):,} rows of {length:,} tokens, {samples.filled:.0%} full: a step of "
            f"{cfg.batch_size} rows has about {cfg.batch_size * len(found.examples) / len(samples):,.0f} examples"
        )
        return samples

    def _isolation(self, length: int) -> Isolation:
        from llmkit.train.isolation import isolation_for

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
        return [{"prompt": example.prompt[-1].content, "gold": example.completion} for example in self._questions]

    def answers(self, model: nn.Module) -> list[str]:
        return [said.text for said in self._said(model, self._questions, ANSWER_TOKENS)]

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
        answers = self._said(model, asked, most)
        ended = sum(said.finish_reason == "stop" for said in answers)
        empty = sum(not said.text.strip() for said in answers)
        facts = {"ended": ended, "of": len(asked), "share": ended / len(asked), "empty": empty}
        return {**facts, "tokens": most, "split": held}

    def _said(self, model: nn.Module, asked: Sequence[Example], most: int) -> list[Generation]:
        from llmkit.generation.sampling import Sampling
        from llmkit.stages.sampling import speaking

        sampling = Sampling(max_tokens=most, seed=self.cfg.seed)
        with speaking(self.loaded, model) as local:
            return [
                local.generate([{"role": m.role, "content": m.content} for m in example.prompt], sampling)
                for example in asked
            ]

    def fresh(self) -> Any:
        from llmkit.models.load import load_model
        from llmkit.models.tokens import make_room

        model = load_model(self.paths["model"], quantised=self._quantised).model
        if self._new_ids or "adapter" in self.paths:
            make_room(model, len(self.loaded.tokenizer), self._new_ids)
        return model

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
    def _questions(self) -> list[Example]:
        return [example for example in self.dataset.examples("validation") if example.prompt][:SHOWN]

    def _fitted(self, split: Split) -> Fitted:
        from llmkit.stages.tuning.rendering import fitted

        examples = self.dataset.examples(split)
        return fitted(examples, self.words, limit=self.limit, over_length=self.cfg.over_length, needed=split == "train")
