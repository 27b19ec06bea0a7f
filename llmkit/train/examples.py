"""Fine-tuning examples as tokens, with exactly the tokens marked that the model is to learn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.text.control import defused_messages
from llmkit.train.lengths import Shortening
from llmkit.train.samples import IntArray

Message = Mapping[str, str]
"""`{"role": ..., "content": ...}`."""
Learn = Literal["assistant", "last", "all"]
"""Which tokens are learned: those of every assistant's turn, of the last one only, or all."""

_SHORTEST: Sequence[Message] = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


@dataclass(frozen=True)
class Rendered:
    """One example as the model sees it.

    Attributes:
        ids: shape (length,).
        trained: shape (length,), True for the tokens that are learned: those an assistant would have to write, with
            the token that ends its turn.
        where: the record it came from, for messages.
    """

    ids: IntArray
    trained: NDArray[np.bool_]
    where: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def last_trained(self) -> int:
        """Id of the last learned token: what ends a reply."""
        return int(self.ids[np.flatnonzero(self.trained)[-1]])


def render(messages: Sequence[Message], tokenizer: Any, *, where: str = "", learn: Learn = "assistant") -> Rendered:
    """A conversation through the tokenizer's own chat template; the assistant's turns are learned.

    The ids are those of `tokenizer.apply_chat_template(messages)` (control tokens inside a content are made inert, as
    in generation), so training and serving see the same text, and a
    beginning-of-text token appears only where the template writes one. A turn is learned from the first token after
    the template's generation prompt to the token that ends the turn. A last turn that no special token ends is
    followed by the tokenizer's eos: a model that never saw an end never stops.

    Args:
        learn: `last` learns only the last of the assistant's turns, `all` every token, prompts and template included.

    Raises:
        DataError: the tokenizer has no chat template, or the template refuses these messages; no assistant turn, or
            an empty one.
    """
    if not tokenizer.chat_template:
        raise DataError(
            "the model's tokenizer has no chat template, so it is not known how it expects a conversation",
            where=where or None,
            mend="give one: --template chatml (or llama3, or a file of Jinja); or use prompt and completion pairs as "
            "plain text (--task text)",
        )
    messages = defused_messages(messages, tokenizer)
    text = _through_template(tokenizer, messages, False, where)
    said = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    spans: list[tuple[int, int]] = []
    for number in said:
        if not messages[number]["content"].strip():
            raise DataError(
                f"turn {number + 1} of the assistant is empty", where=where or None, mend="remove the record"
            )
        if learn == "last" and number != said[-1]:
            continue
        before = _through_template(tokenizer, messages[:number], True, where)
        after = _through_template(tokenizer, messages[: number + 1], False, where)
        if not (text.startswith(before) and text.startswith(after)):
            raise DataError(
                "the chat template writes earlier turns differently once later ones follow, so the assistant's tokens "
                "cannot be told from the rest",
                where=where or None,
                mend="use --learn last with one record per assistant turn, or another template",
            )
        spans.append((len(before), len(after)))
    ends_text = bool(spans) and messages[-1]["role"] == "assistant"
    return _checked(_of(learn, _marked(text, spans, tokenizer, ends_text)), where)


def render_pair(
    prompt: str, completion: str, tokenizer: Any, *, where: str = "", learn: Learn = "assistant"
) -> Rendered:
    """Plain text: the completion and the eos after it are learned, the prompt is not; an empty prompt leaves it all.

    The prompt is encoded on its own, as it will be when the model is asked, with the beginning-of-text token if that
    is how the tokenizer begins a text.
    """
    begin = tokenizer("")["input_ids"][:1]
    bos = begin if begin and begin[0] == tokenizer.bos_token_id else []
    asked = bos + (tokenizer.encode(prompt, add_special_tokens=False) if prompt else [])
    answer = [*tokenizer.encode(completion, add_special_tokens=False), _eos(tokenizer, where)] if completion else []
    ids = np.array(asked + answer, dtype=np.int64)
    if not completion:
        return _checked(Rendered(ids, np.zeros(len(ids), dtype=bool)), where)
    return _checked(_of(learn, Rendered(ids, np.arange(len(ids)) >= len(asked))), where)


def ends_of(tokenizer: Any) -> frozenset[int]:
    """Ids at which a reply ends: eos, and the control token with which the chat template ends a turn, if it does."""
    found = {tokenizer.eos_token_id} - {None}
    if tokenizer.chat_template:
        try:
            last = render(_SHORTEST, tokenizer).last_trained
        except DataError:  # a template with demands of its own; eos is left
            return frozenset(found)
        if last in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}:
            found.add(last)
    return frozenset(found)


def begins(example: Rendered, bos: int | None) -> int:
    """How many beginning-of-text tokens an example begins with."""
    different = np.flatnonzero(example.ids != bos) if bos is not None else [0]
    return int(different[0]) if len(different) else len(example)


def ended(example: Rendered, ends: Collection[int]) -> bool:
    """Whether the model learns to end a reply from this example."""
    return not {*example.ids[1:][example.trained[1:]].tolist()}.isdisjoint(ends)


def truncated(example: Rendered, limit: int) -> Rendered | None:
    """The first `limit` tokens; None where no learned one is among them."""
    return _piece(example, 0, limit)


def pieces(example: Rendered, limit: int) -> Sequence[Rendered | None]:
    """Consecutive pieces of at most `limit` tokens; None for one without a learned token."""
    return [_piece(example, start, start + limit) for start in range(0, len(example), limit)]


SHORTENING = Shortening(truncated, pieces)
"""Of conversations and texts."""


def _through_template(tokenizer: Any, messages: Sequence[Message], prompt: bool, where: str) -> str:
    if not messages:
        return ""
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))
    except (TemplateError, TypeError, KeyError) as error:
        raise DataError(
            f"the chat template refuses this conversation: {error}",
            where=where or None,
            mend="use the roles, and their order, that the template expects",
        ) from error


def _of(learn: Learn, example: Rendered) -> Rendered:
    return replace(example, trained=np.ones(len(example), dtype=bool)) if learn == "all" else example


def _marked(text: str, spans: Sequence[tuple[int, int]], tokenizer: Any, ends_text: bool) -> Rendered:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = np.array(encoded["input_ids"], dtype=np.int64)
    offsets = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    special = np.isin(ids, [*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder])
    trained = np.zeros(len(ids), dtype=bool)
    for number, (start, end) in enumerate(spans):
        inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end))
        ending = inside[special[inside]]
        if len(ending):  # what the template writes after the end of a turn belongs to the next one
            inside = inside[inside <= ending[-1]]
        elif ends_text and number == len(spans) - 1:
            ids = np.append(ids, _eos(tokenizer, ""))
            trained = np.append(trained, True)
        trained[inside] = True
    return Rendered(ids, trained)


def _checked(example: Rendered, where: str) -> Rendered:
    if not _learnable(example):
        raise DataError(
            "there is nothing to learn in this record: no assistant turn, or an empty completion",
            where=where or None,
            mend="remove the record, or add the reply that should be learned",
        )
    return replace(example, where=where)


def _learnable(example: Rendered) -> bool:
    # The first token is never predicted, so it alone teaches nothing.
    return bool(example.trained[1:].any())


def _piece(example: Rendered, start: int, end: int) -> Rendered | None:
    piece = Rendered(example.ids[start:end], example.trained[start:end], example.where)
    return piece if _learnable(piece) else None


def _eos(tokenizer: Any, where: str) -> int:
    if tokenizer.eos_token_id is None:
        raise DataError(
            "the tokenizer has no end-of-text token, so a model could not learn to stop",
            where=where or None,
            mend="set eos_token in its tokenizer_config.json",
        )
    return int(tokenizer.eos_token_id)
