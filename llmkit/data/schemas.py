"""The schemas of training data other than chat: texts with labels or tags, questions on contexts, and preferences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from llmkit.data.chat import Example, FromRecord, Message, spoken
from llmkit.data.split import Split

ExampleSchema = Literal["chat", "label", "span", "preference", "tag"]
EXAMPLE_SCHEMAS: tuple[ExampleSchema, ...] = ("chat", "label", "span", "preference", "tag")


@dataclass(frozen=True)
class LabelExample(FromRecord):
    """A text, or a pair of texts, and its class. `text_pair` is None for a single text; labels are always strings."""

    source: str
    record: str
    text: str
    text_pair: str | None
    label: str
    split: Split | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        return len(self.text) + len(self.text_pair or "")

    @property
    def group(self) -> str:
        """What decides on the split: the text, in a pair the first one (a premise comes with several hypotheses)."""
        return self.text

    @property
    def parts(self) -> Iterator[str]:
        """All that is learned from it: two examples with the same parts are duplicates."""
        yield from self.inputs
        yield self.label

    @property
    def inputs(self) -> Iterator[str]:
        """The parts without the label: examples that share these and differ in the label contradict each other."""
        yield self.text
        if self.text_pair is not None:
            yield self.text_pair


class Tag(NamedTuple):
    """A word, by its half-open range of code points of the text, and its tag."""

    start: int
    end: int
    tag: str


@dataclass(frozen=True)
class TagExample(FromRecord):
    """A text and the tags of its words, in their order; words do not overlap."""

    source: str
    record: str
    text: str
    tags: tuple[Tag, ...]
    split: Split | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        return len(self.text)

    @property
    def group(self) -> str:
        """What decides on the split."""
        return self.text

    @property
    def parts(self) -> Iterator[str]:
        """All that is learned from it: two examples with the same parts are duplicates."""
        yield self.text
        for start, end, tag in self.tags:
            yield f"{start} {end} {tag}"


class Answer(NamedTuple):
    """`start` counts code points: `context[start : start + len(text)] == text`."""

    text: str
    start: int


@dataclass(frozen=True)
class SpanExample(FromRecord):
    """A question and the spans of the context that answer it; without answers it cannot be answered from there."""

    source: str
    record: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    split: Split | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        return len(self.question) + len(self.context)

    @property
    def group(self) -> str:
        """What decides on the split: all questions on one context stay together."""
        return self.context

    @property
    def article(self) -> str | None:
        """The title of what the context is a part of, where the data say it."""
        title = self.meta.get("title")
        return title if isinstance(title, str) and title.strip() else None

    @property
    def parts(self) -> Iterator[str]:
        """All that is learned from it: two examples with the same parts are duplicates."""
        yield self.question
        yield self.context
        for answer in self.answers:
            yield f"{answer.start} {answer.text}"


@dataclass(frozen=True)
class PreferenceExample(FromRecord):
    """A prompt that ends with the user's turn, and two ways to go on, the first of which is the better one."""

    source: str
    record: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    split: Split | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        return sum(len(message.content) for message in (*self.prompt, *self.chosen, *self.rejected))

    @property
    def group(self) -> str:
        """What decides on the split: examples with the same prompt stay together."""
        return "\n".join(f"{message.role}: {message.content}" for message in self.prompt)

    @property
    def parts(self) -> Iterator[str]:
        """All that is learned from it: two examples with the same parts are duplicates."""
        yield from spoken(self.prompt)
        yield "chosen"
        yield from spoken(self.chosen)
        yield "rejected"
        yield from spoken(self.rejected)


TrainingExample = Example | LabelExample | SpanExample | PreferenceExample | TagExample
