"""What tasks share that teach a causal model what to write: the model, its tokenizer, its template, its answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmkit.errors import UsageError
from llmkit.stages import models
from llmkit.stages.tuning.task import Given, Task

if TYPE_CHECKING:
    from torch import nn

    from llmkit.data.chat import Example
    from llmkit.generation.sampling import Generation
    from llmkit.stages.tuning.rendering import Wording

ANSWER_TOKENS = 40
"""Of an answer that is shown, at most."""


class Spoken(Task):
    """A task of models that write. A subclass says what its examples are, and which questions it is shown by.

    Attributes:
        words: how examples are written for the model.
        warned, remembered: what `notes` and `remarks` have to tell besides; it is added as it turns up.
        new_ids: tokens of which the model knows nothing yet.
    """

    def __init__(self, given: Given) -> None:
        from llmkit.models.load import has_template, load_model
        from llmkit.models.tokens import ids_beyond, make_room
        from llmkit.stages.tuning.rendering import wording

        super().__init__(given)
        adapter = self.paths.get("adapter")
        self.loaded = load_model(
            self.paths["model"], adapter=adapter, trainable=True, quantised=self.quantised, weights=self.weights
        )
        if self.loaded.objective != "causal":
            raise UsageError(
                f"a {self.loaded.objective} model cannot be tuned on conversations",
                mend="use a causal model, such as gpt2 or llama",
            )
        self.limit = models.sequence_limit(self.loaded, self.cfg.sequence_length)
        self.words: Wording = wording(self.loaded.tokenizer, self.cfg.task, self.cfg.causal)
        self.chat = self.words.chat
        self.warned: list[str] = []
        self.remembered: list[str] = []
        holders = [self.paths[role] for role in ("adapter", "model") if role in self.paths]
        if self.chat and not self.cfg.causal.template and not any(map(has_template, holders)):
            family = self.loaded.family.chat if self.loaded.family else None
            self.remembered.append(f"the model has no chat template: that of its family, {family}, is used and kept")
        if self.quantised and self.weights:
            from llmkit.models.quantised import size

            now, before = size(self.loaded.model)
            self.remembered.append(
                f"the base takes {now / 2**20:,.0f} MiB; in float32 it would take {before / 2**20:,.0f}"
            )
        if self.words.added and "adapter" in self.paths:
            raise UsageError(
                f"this template needs {', '.join(self.words.added)}, and an adapter keeps the tokens that it has",
                mend="tune its base with this --template, or leave it out to go on with the adapter's own",
            )
        beyond = ids_beyond(self.loaded.tokenizer, self.loaded.model)
        self.new_ids = sorted({*self.words.token_ids, *beyond})
        if unknown := [id_ for id_ in beyond if id_ not in self.words.token_ids]:
            said = ", ".join(self.loaded.tokenizer.convert_ids_to_tokens(unknown[:3]))
            self.warned.append(
                f"the model has no embedding for {said}, which its tokenizer has: they are learned with it"
            )
        if self.weights:
            make_room(self.loaded.model, len(self.loaded.tokenizer) if self.new_ids else 0, self.new_ids)

    @property
    def quantised(self) -> bool:
        return self.cfg.method == "qlora"

    @property
    def tokens(self) -> Sequence[int]:
        return self.new_ids

    @property
    def wording_notes(self) -> Sequence[str]:
        return [*self.words.notes, *self.warned]

    @property
    def remarks(self) -> Sequence[str]:
        return self.remembered

    @property
    def facts(self) -> Mapping[str, Any]:
        return {**self.words.facts, "limit": self.limit}

    @property
    @abstractmethod
    def questions(self) -> Sequence[Example]:
        """Held-out prompts with their answers, to be shown."""

    def answers(self, model: nn.Module) -> list[str]:
        return [said.text for said in self.said(model, self.questions, ANSWER_TOKENS)]

    def fresh(self) -> Any:
        from llmkit.models.load import load_model
        from llmkit.models.tokens import make_room

        model = load_model(self.paths["model"], quantised=self.quantised).model
        if self.new_ids or "adapter" in self.paths:
            make_room(model, len(self.loaded.tokenizer), self.new_ids)
        return model

    def said(self, model: nn.Module, asked: Sequence[Example], most: int) -> list[Generation]:
        """What the model says to these prompts, in so many tokens at most."""
        from llmkit.generation.sampling import Sampling
        from llmkit.stages.sampling import speaking

        sampling = Sampling(max_tokens=most, seed=self.cfg.seed)
        with speaking(self.loaded, model) as local:
            return [
                local.generate([{"role": m.role, "content": m.content} for m in example.prompt], sampling)
                for example in asked
            ]
