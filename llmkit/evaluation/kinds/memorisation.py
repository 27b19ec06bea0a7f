"""Does a model recite its training text? Verbatim extraction at prefix lengths, against what chance would give.

A text is extracted at k where the model, given its k tokens of context, writes the next tokens exactly, greedily
(Carlini et al. 2023, arXiv:2202.07646, definition 3.1). The same of text that was not trained on is the control: what
is predictable in any text of that sort. Pure functions, shared by `eval` and by looking into a model's memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import NOTHING, check_ids, data_digest, task_result
from llmkit.evaluation.result import ItemRecord, Score, TaskResult
from llmkit.evaluation.spec import TaskSpec


class MemorisationTask(TaskSpec):
    """Verbatim extraction of training text."""

    kind: Literal["memorisation"]
    data: str | None = Field(
        default=None, description="A dataset of texts; without one, the one that the model's lineage names."
    )
    prefixes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(8, 32), min_length=1, description="Tokens of context that are given."
    )
    continuation: int = Field(default=32, ge=1, description="Tokens that must come out exactly.")


@dataclass(frozen=True)
class Passage:
    """A stretch of a text as tokens: as many before it as the longest prefix has, and those that must come out."""

    id: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    trained: bool
    cluster: str = ""
    text: str = ""


Recites = Callable[[Sequence[tuple[Sequence[int], Sequence[int]]]], Sequence[bool]]
"""(context ids, continuation ids) -> whether greedy decoding writes the continuation. Decoding greedily gives it
exactly where every token of it is the likeliest given those before, so no text need be generated."""


def metric_names(prefixes: Sequence[int]) -> tuple[str, ...]:
    """Extracted, control and the excess of one over the other, at each prefix length."""
    return tuple(f"{name}@{k}" for k in sorted(set(prefixes)) for name in ("extracted", "control", "excess"))


def passages(
    texts: Iterable[tuple[str, str, Sequence[int]]], *, prefix: int, continuation: int, trained: bool, seed: int = 0
) -> list[Passage]:
    """One passage of every text that is long enough, at a place drawn by a hash.

    Args:
        texts: (id, cluster, tokens).
    """
    found = []
    for name, cluster, ids in texts:
        room = len(ids) - prefix - continuation
        if room < 0:
            continue
        drawn = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big") % (room + 1)
        middle = drawn + prefix
        key = f"{'train' if trained else 'control'}:{name}"
        found.append(
            Passage(key, tuple(ids[drawn:middle]), tuple(ids[middle : middle + continuation]), trained, cluster)
        )
    return found


def evaluate_memorisation(
    task: str, items: Sequence[Passage], recites: Recites, *, prefixes: Sequence[int], notes: Sequence[str] = ()
) -> TaskResult:
    """The share of training passages that come out verbatim, that of others, and the difference, at each prefix length.

    The shares of the excess are centred, so that its standard error by linearisation is that of a difference of two
    independent means.

    Raises:
        DataError: no items, duplicate ids, nothing trained on, or a passage shorter than the longest prefix.
    """
    check_ids(task, [item.id for item in items])
    lengths = sorted(set(prefixes))
    if not any(item.trained for item in items):
        raise DataError("no passage of the training text is long enough", where=task, mend="ask for shorter prefixes")
    for item in items:
        if len(item.before) < lengths[-1]:
            raise DataError(f"the passage '{item.id}' is shorter than the longest prefix", where=task)
    asked = [(item.before[len(item.before) - k :], item.after) for k in lengths for item in items]
    came = iter(recites(asked))
    hits = {k: [bool(next(came)) for _ in items] for k in lengths}
    scores = {k: _shares([item.trained for item in items], hits[k]) for k in lengths}
    records = [
        ItemRecord(
            id=item.id,
            cluster=item.cluster or item.id,
            scores={f"{name}@{k}": share for k in lengths for name, share in scores[k][n].items()},
            detail={"text": item.text, "trained": item.trained, "extracted_at": [k for k in lengths if hits[k][n]]},
        )
        for n, item in enumerate(items)
    ]
    digest = data_digest((item.id, [list(item.before), list(item.after)]) for item in items)
    return task_result(task, "memorisation", metric_names(lengths), records, digest=digest, notes=notes)


def _shares(trained: Sequence[bool], hits: Sequence[bool]) -> list[dict[str, Score]]:
    ours = [hit for ours, hit in zip(trained, hits, strict=True) if ours]
    others = [hit for ours, hit in zip(trained, hits, strict=True) if not ours]
    chance = sum(others) / len(others) if others else 0.0
    ratio = len(ours) / len(others) if others else 0.0
    found = []
    for own, hit in zip(trained, hits, strict=True):
        excess = Score(value=hit - chance) if own else Score(value=-ratio * (hit - chance), weight=0.0)
        found.append(
            {
                "extracted": Score(value=float(hit)) if own else NOTHING,
                "control": NOTHING if own else Score(value=float(hit)),
                "excess": excess if others else NOTHING,
            }
        )
    return found
