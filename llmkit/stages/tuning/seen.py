"""What a batch hands to a model of an example, and asks of it: read off the batch, for a person to look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.train.samples import Batch


@dataclass(frozen=True)
class Strip:
    """Tokens in a row of a batch.

    Attributes:
        ids: in order; of what is predicted token by token, with the last one, which is asked for and never handed over.
        learned: for each token, whether a label is on it.
        title: which part of the example it is, where there are several.
        place: where in the batch.
        tags: labels of tokens, by their positions.
        written: whether the model learns to write these tokens, so that their beginning and their end matter.
    """

    ids: Sequence[int]
    learned: Sequence[bool]
    title: str = ""
    place: str = ""
    tags: Mapping[int, str] = field(default_factory=dict)
    written: bool = False


@dataclass(frozen=True)
class Seen:
    """An example in a batch; `target` says in words what is asked of it as a whole, if anything."""

    strips: Sequence[Strip]
    target: str = ""


def whole(samples: Any, count: int) -> Batch:
    """All of so many samples as one batch, in the order of their numbers."""
    from llmkit.train.samples import Sample

    made: Batch = samples.batch([Sample(0, number) for number in range(count)], count)
    return made


def next_tokens(batch: Batch, row: int, start: int, end: int, title: str = "") -> Strip:
    """A stretch of a row in which each position has the next token for its label."""
    from llmkit.train.samples import IGNORE

    ids = batch.inputs["input_ids"][row, start:end].tolist()
    labels = batch.labels[row, start:end].tolist()
    tokens = [ids[0], *(label if label != IGNORE else id_ for id_, label in zip(ids[1:], labels, strict=False))]
    learned = [False, *(label != IGNORE for label in labels[:-1])]
    if labels[-1] != IGNORE:  # the last token is only ever predicted
        tokens.append(labels[-1])
        learned.append(True)
    return Strip(tokens, learned, title, _place(batch, row, start, end), written=True)


def handed(
    batch: Batch, row: int, length: int, *, learned: Collection[int] = (), title: str = "", tags: Any = None
) -> Strip:
    """The first tokens of a row as they are handed to the model, with the positions of which something is asked."""
    ids = batch.inputs["input_ids"][row, :length].tolist()
    marks = [position in learned for position in range(length)]
    return Strip(ids, marks, title, _place(batch, row, 0, length), tags or {})


def _place(batch: Batch, row: int, start: int, end: int) -> str:
    return f"row {row}, {start} to {end} of {batch.inputs['input_ids'].shape[1]}"


@dataclass(frozen=True)
class Piece:
    """A run of tokens that are learned alike, as text; the tag of its one token, where tokens have tags."""

    text: str
    learned: bool
    tag: str = ""


def pieces(strip: Strip, tokenizer: Any) -> list[Piece]:
    """The strip as text: the pieces together are what the tokenizer makes of all of it, wherever that can be cut."""
    ends = [
        at + 1
        for at, learned in enumerate(strip.learned)
        if at + 1 == len(strip.ids) or strip.learned[at + 1] != learned or at in strip.tags or at + 1 in strip.tags
    ]
    found: list[Piece] = []
    start, before = 0, ""
    for end in ends:
        upto = tokenizer.decode(strip.ids[:end])
        # A piece may end within a character; then it is decoded alone.
        text = upto[len(before) :] if upto.startswith(before) else tokenizer.decode(strip.ids[start:end])
        found.append(Piece(text, strip.learned[start], strip.tags.get(start, "")))
        start, before = end, upto
    return found


def json_ready(strip: Strip, tokenizer: Any, ends: Collection[int]) -> dict[str, Any]:
    """The strip with what there is to check of it: counts, where it begins and ends, special tokens, pieces of text."""
    special = {*tokenizer.all_special_ids}
    told: dict[str, Any] = {
        "title": strip.title,
        "place": strip.place,
        "trained": sum(strip.learned),
        "ids": list(strip.ids),
        "learned": list(strip.learned),
        "special": [
            {"at": at, "token": tokenizer.convert_ids_to_tokens(id_)}
            for at, id_ in enumerate(strip.ids)
            if id_ in special
        ],
        "pieces": [vars(piece) for piece in pieces(strip, tokenizer)],
    }
    if strip.tags:
        told["tags"] = {str(at): tag for at, tag in strip.tags.items()}
    if strip.written:
        begun = next((at for at, id_ in enumerate(strip.ids) if id_ != tokenizer.bos_token_id), len(strip.ids))
        told["bos"] = begun if tokenizer.bos_token_id is not None else 0
        told["ends"] = [{"at": at, "learned": strip.learned[at]} for at, id_ in enumerate(strip.ids) if id_ in ends]
    return told
