"""Examples to fine-tune on: a list of messages that ends with what the model should say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmkit.data.split import Split
from llmkit.text.document import Document

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Example:
    """One training example. A prompt and its completion are a user's and an assistant's message.

    A plain text, to be trained on as it is, is a single message of the assistant. `split` is None where the data do
    not say; `source` and `record` are those of a `Document`.
    """

    source: str
    record: str
    messages: tuple[Message, ...]
    split: Split | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return Document(self.source, "", record=self.record).id

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All but the last message; empty for a plain text."""
        return self.messages[:-1]

    @property
    def completion(self) -> str:
        return self.messages[-1].content

    @property
    def characters(self) -> int:
        return sum(len(message.content) for message in self.messages)
