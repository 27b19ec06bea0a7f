"""Preference pairs: of two answers to a prompt the better one becomes likelier, measured against the model before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError
from llmkit.stages.tuning.causal import PROBED
from llmkit.stages.tuning.spoken import Spoken
from llmkit.stages.tuning.table import rate_notes
from llmkit.stages.tuning.task import SHOWN, Given, Split

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmkit.data.chat import Example, Message
    from llmkit.data.schemas import ExampleSchema, PreferenceExample
    from llmkit.evaluation.result import ItemRecord
    from llmkit.stages.tuning.seen import Seen
    from llmkit.train.examples import Rendered
    from llmkit.train.lengths import Fitted
    from llmkit.train.preference import FloatArray, Pair, Pairs
    from llmkit.train.samples import Batch


class Preference(Spoken):
    """DPO on conversations: the same rendering as chat, the loss on the answers' tokens only.

    The reference is the model that --model names, as it is before the first step: the base, or an adapter that is
    tuned further. Its log-probabilities are computed once, before a new adapter is attached, and kept with the run.
    """

    schema: ClassVar[ExampleSchema] = "preference"
    metrics: ClassVar[Sequence[str]] = ("preference_accuracy", "reward_margin", "ranking_accuracy")
    takes: ClassVar[Sequence[str]] = ("template",)
    rows_of_a_sample: ClassVar[int] = 2
    whole: ClassVar[str] = "half an answer answers nothing"

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.chat = bool(self.loaded.tokenizer.chat_template)
        self._work = given.work
        self._before: FloatArray | None = None

    @property
    def notes(self) -> Sequence[str]:
        return [*super().notes, *rate_notes("dpo", self.cfg)]

    @property
    def facts(self) -> Mapping[str, Any]:
        return {**super().facts, "tuned": "dpo", "beta": self.cfg.dpo.beta}

    @property
    def aim(self) -> str:
        return "the chosen answer's tokens rather than those of the rejected one"

    def fitted(self, examples: Iterable[PreferenceExample]) -> Fitted[Pair]:
        from llmkit.train.lengths import fit
        from llmkit.train.preference import SHORTENING

        return fit(map(self._pair, examples), self.limit, self.cfg.over_length, SHORTENING)

    def sizes(self, examples: Sequence[Pair]) -> Mapping[str, int]:
        sides = [side for pair in examples for side in (pair.chosen, pair.rejected)]
        return {"tokens": sum(map(len, sides)), "trained": sum(int(side.trained.sum()) for side in sides)}

    def samples(self, examples: Sequence[Pair], split: Split) -> Pairs:
        from llmkit.train.preference import Pairs

        found = Pairs(examples, batch_size=self.cfg.batch_size, seed=self.cfg.seed, shuffle=split == "train")
        return found.against(self._reference(split, found)) if self.weights else found

    def seen(self, examples: Sequence[Pair]) -> Sequence[Seen]:
        from llmkit.stages.tuning.seen import Seen, next_tokens, whole

        batch, count = whole(self.samples(examples, "train"), len(examples)), len(examples)
        return [
            Seen(
                [
                    next_tokens(batch, row, 0, len(pair.chosen) - 1, "chosen"),
                    next_tokens(batch, count + row, 0, len(pair.rejected) - 1, "rejected"),
                ]
            )
            for row, pair in enumerate(examples)
        ]

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        from llmkit.train.preference import dpo_loss

        return dpo_loss(self.cfg.dpo.beta)(model, batch)

    def baseline(self, model: nn.Module) -> list[ItemRecord]:
        """As `records`; it also remembers what the model thinks before the first step, which is the reference."""
        self._before = self._alone(model)
        return self._scores(self._before, self._before)

    def records(self, model: nn.Module) -> list[ItemRecord]:
        assert self._before is not None  # noqa: S101  # the stage asks for the baseline first
        return self._scores(self._before, self._alone(model))

    @property
    def stops(self) -> Sequence[int]:
        said = {pair.chosen.last_trained for pair in self.training.examples[:4]}
        ends = {self.loaded.tokenizer.eos_token_id, *said}
        return sorted(ends - {None})

    def probe(self) -> Batch:
        from llmkit.train.samples import Batch, Sample

        found = self._alone_in_rows(self.training.examples[:PROBED])
        batch = found.batch([Sample(0, number) for number in range(len(found))], len(found))
        return Batch(batch.inputs, batch.labels)

    @cached_property
    def questions(self) -> list[Example]:
        from llmkit.data.chat import Example

        held = list(self.dataset.examples("validation", "preference"))[:SHOWN]
        return [Example(each.source, each.record, (*each.prompt, *each.chosen)) for each in held]

    def shown(self) -> list[Mapping[str, str]]:
        held = list(self.dataset.examples("validation", "preference"))[:SHOWN]
        return [{"prompt": each.prompt[-1].content, "gold": each.chosen[0].content} for each in held]

    def _alone_in_rows(self, pairs: Sequence[Pair]) -> Pairs:
        from llmkit.train.preference import Pairs

        return Pairs(pairs, batch_size=1, seed=0, shuffle=False)

    def _alone(self, model: nn.Module) -> FloatArray:
        """Log-probabilities of the scored pairs in float32, each pair by itself: no neighbour has a part in them."""
        import numpy as np

        from llmkit.train.preference import log_probabilities

        pairs = self._scored
        if not pairs:
            return np.zeros((0, 2), np.float32)
        return log_probabilities(model, self._alone_in_rows(pairs), batch_size=1)

    @cached_property
    def _scored(self) -> list[Pair]:
        from llmkit.stages.tuning.scoring import spread

        return spread(self.held.examples)

    def _scores(self, before: FloatArray, after: FloatArray) -> list[ItemRecord]:
        from llmkit.evaluation.aggregate import score
        from llmkit.evaluation.result import ItemRecord

        def item(number: int, pair: Pair) -> ItemRecord:
            name = f"{number}:{pair.where}"
            liking = float(after[number, 0] - after[number, 1])
            margin = self.cfg.dpo.beta * (liking - float(before[number, 0] - before[number, 1]))
            found = {
                "preference_accuracy": _won(margin),
                "reward_margin": margin,
                "ranking_accuracy": _won(liking),
            }
            scores = {what: score("finetune-lora", name, what, value) for what, value in found.items()}
            return ItemRecord(id=name, cluster=pair.where or str(number), scores=scores)

        return [item(number, pair) for number, pair in enumerate(self._scored)]

    def _reference(self, split: Split, samples: Pairs) -> FloatArray:
        """Log-probabilities under the model as it was loaded; after an interruption, those of when the run began."""
        import numpy as np

        from llmkit.stages.sampling import kept
        from llmkit.train.launch import World
        from llmkit.train.precision import probe, resolve_device
        from llmkit.train.preference import log_probabilities

        def computed() -> list[list[float]]:
            device = resolve_device(self.cfg.device, World.current().local_rank)
            precision = probe(device).precision if self.cfg.precision == "auto" else self.cfg.precision
            rows = self.cfg.micro_batch_size or self.cfg.batch_size
            model = self.loaded.model.to(device)
            found = log_probabilities(model, samples, batch_size=rows, precision=precision)
            return [[float(chosen), float(rejected)] for chosen, rejected in found]

        return np.array(kept(self._work / f"reference-{split}.json", computed), dtype=np.float32)

    def _pair(self, example: PreferenceExample) -> Pair:
        from llmkit.train.preference import Pair, differ

        where = f"{example.source}:{example.record}"
        chosen, rejected = (self._answer(example, answer, where) for answer in (example.chosen, example.rejected))
        if not differ(chosen, rejected):
            raise DataError(
                "'chosen' and 'rejected' are the same tokens, so nothing can be preferred",
                where=where,
                mend="remove the record; the chat template may strip the white space in which they differ",
            )
        return Pair(chosen, rejected, where)

    def _answer(self, example: PreferenceExample, answer: Sequence[Message], where: str) -> Rendered:
        from llmkit.train.examples import render, render_pair
        from llmkit.train.preference import answer_only

        if self.chat:
            turns = [{"role": m.role, "content": m.content} for m in (*example.prompt, *answer)]
            said_before = sum(message.role == "assistant" for message in example.prompt)
            whole = self.words.begun(render(turns, self.loaded.tokenizer, where=where))
            return answer_only(whole, said_before)
        if len(example.prompt) > 1 or len(answer) > 1:
            raise DataError(
                "a conversation of several turns needs a chat template, and the model's tokenizer has none",
                where=where,
                mend="use a model whose tokenizer has a template, or pairs of a prompt and an answer",
            )
        alone = render_pair(example.prompt[0].content, answer[0].content, self.loaded.tokenizer, where=where)
        return self.words.begun(alone)


def _won(margin: float) -> float:
    """1 where the better answer is ahead, a half where neither is: an untouched model is right by half."""
    return 0.5 if margin == 0 else float(margin > 0)
