"""Chat, and prompts with completions, for models that write: the loss is on what the assistant says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.stages import models
from llmkit.stages.tuning.task import SHOWN, Given, Part, Split, Task

if TYPE_CHECKING:
    from torch import nn

    from llmkit.data.chat import Example
    from llmkit.data.schemas import ExampleSchema
    from llmkit.evaluation.result import ItemRecord
    from llmkit.train.examples import Fitted, Rendered
    from llmkit.train.samples import Batch

ANSWER_TOKENS = 40
PROBED = 4
"""Examples on which the saved adapter is compared with the trained one."""


class Causal(Task):
    """Next-token training on conversations or pairs, each example a row of its own, padded on the right."""

    schema: ClassVar[ExampleSchema] = "chat"
    metrics: ClassVar[Sequence[str]] = ("loss",)
    likelihood: ClassVar[bool] = True

    def __init__(self, given: Given) -> None:
        from llmkit.models.load import load_model

        super().__init__(given)
        self.loaded = load_model(self.paths["model"], adapter=self.paths.get("adapter"), trainable=True)
        if self.loaded.objective != "causal":
            raise UsageError(
                f"a {self.loaded.objective} model cannot be tuned on conversations",
                mend="use a causal model, such as gpt2 or llama",
            )
        self.limit = models.sequence_limit(self.loaded, self.cfg.sequence_length)
        chat = self.cfg.task == "chat" or (self.cfg.task == "auto" and bool(self.loaded.tokenizer.chat_template))
        self.chat = chat

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"task": "chat" if self.chat else "text", "limit": self.limit}

    @cached_property
    def training(self) -> Fitted:
        """The examples to train on, in tokens."""
        return self._fitted("train")

    @cached_property
    def held(self) -> Fitted:
        """The examples that are held out, in tokens; there may be none."""
        return self._fitted("validation")

    def part(self, split: Split) -> Part:
        from llmkit.train.padding import Padded

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
        shuffle = split == "train"
        samples = Padded(found.examples, batch_size=self.cfg.batch_size, seed=self.cfg.seed, shuffle=shuffle)
        return Part(samples, counts)

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
        from llmkit.generation.sampling import Sampling
        from llmkit.stages.sampling import speaking

        sampling = Sampling(max_tokens=ANSWER_TOKENS, seed=self.cfg.seed)
        with speaking(self.loaded, model) as local:
            return [
                local.generate([{"role": m.role, "content": m.content} for m in example.prompt], sampling).text
                for example in self._questions
            ]

    def fresh(self) -> Any:
        from llmkit.models.load import load_model

        return load_model(self.paths["model"]).model

    @property
    def stops(self) -> Sequence[int]:
        # A turn may end with another token than a text does; generation must stop at either.
        ends = {self.loaded.tokenizer.eos_token_id, *(example.last_trained for example in self.training.examples[:4])}
        return sorted(ends - {None})

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

        return fitted(self.dataset, split, self.loaded.tokenizer, self.cfg, chat=self.chat, limit=self.limit)
