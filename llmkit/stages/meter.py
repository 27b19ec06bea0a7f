"""What is spent on an endpoint while a task is measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmkit.evaluation.result import TaskResult
    from llmkit.generation.sampling import Generation


@dataclass
class Meter:
    """What was spent since it was last read."""

    answers: int = 0
    prompt_tokens: int = 0
    tokens: int = 0

    def add(self, done: Generation) -> None:
        self.answers += 1
        self.prompt_tokens += done.prompt_tokens
        self.tokens += done.tokens

    def read(self, result: TaskResult) -> TaskResult:
        """The result with what was spent on it; the meter begins anew. Unchanged where no endpoint was asked."""
        from llmkit.evaluation.result import Spent

        spent = Spent(answers=self.answers, prompt_tokens=self.prompt_tokens, tokens=self.tokens)
        self.answers = self.prompt_tokens = self.tokens = 0
        return result.model_copy(update={"spent": spent}) if spent.answers else result
