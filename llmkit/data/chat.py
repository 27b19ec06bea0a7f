"""Examples to fine-tune on: a list of messages that ends with what the model should say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


class FromRecord:
    """What examples of all schemas share: they come from a record of a source, and that gives them their id."""

    source: str
    record: str

    @property
    def id(self) -> str:
        """16 hex digits of the source and record, as those of a `Document`."""
        return Document(self.source, "", record=self.record).id


@dataclass(frozen=True)
class Example(FromRecord):
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
    def prompt(self) -> tuple[Message, ...]:
        """All but the last message; empty for a plain text."""
        return self.messages[:-1]

    @property
    def completion(self) -> str:
        return self.messages[-1].content

    @property
    def characters(self) -> int:
        return sum(len(message.content) for message in self.messages)

    @property
    def group(self) -> str:
        """What decides on the split: examples with the same prompt stay together."""
        return "\n".join(f"{message.role}: {message.content}" for message in self.prompt or self.messages)

    @property
    def parts(self) -> Iterator[str]:
        """All that is learned from it: two examples with the same parts are duplicates."""
        return spoken(self.messages)


def spoken(messages: Sequence[Message]) -> Iterator[str]:
    """Each message's role and content, one after the other."""
    for message in messages:
        yield message.role
        yield message.content
