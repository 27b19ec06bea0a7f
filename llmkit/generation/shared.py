"""Several continuations of one context, which is read once: each goes on from its keys and values.

Four choices after a long question cost one reading of the question, not four. The result is that of
`scoring.likelihoods`, but for rounding (in float32 a relative 1e-5 at most). Where a model's cache is not a plain one
(sliding windows, recurrent states), or positions cannot be told to it, each pair is read whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from llmkit.errors import DataError
from llmkit.generation.local import LocalModel
from llmkit.generation.scoring import BATCH_TOKENS, Likelihood, likelihood, likelihoods, padded

LEAST_SHARED = 8
"""Tokens of a context below which reading it again is cheaper than a second pass."""

TokenItem = tuple[Sequence[int], Sequence[Sequence[int]]]
"""A context and its continuations."""


@dataclass(frozen=True)
class _Item:
    index: int
    context: list[int]
    says: list[list[int]]

    @property
    def cells(self) -> int:
        """Positions that both passes compute or copy, per token of padding-free width."""
        return len(self.context) + len(self.says) * max(map(len, self.says))


def encode_item(local: LocalModel, context: str, continuations: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """The tokens of a context and of each continuation, as lm-evaluation-harness 0.4.13 cuts them.

    Spaces at the end of the context go to the continuation. A causal model's continuation is what the whole has
    beyond as many tokens as the context alone has; an empty context is BOS, else EOS.

    Raises:
        DataError: a continuation has no token of its own.
    """
    bare = context.rstrip()
    spaces = context[len(bare) :]
    if local.objective == "seq2seq":
        said = [_encode(local, spaces + each, special=False) for each in continuations]
        ids = _encode(local, bare)
    elif not bare:
        said = [_encode(local, spaces + each, special=False) for each in continuations]
        ids = [local.prefix_id]
        # The harness does not read a prefix token twice: where the text brings one, it is the context.
        said = [each[1:] if len(each) > 1 and each[0] == local.prefix_id else each for each in said]
    else:
        ids = _encode(local, bare)
        said = [_encode(local, bare + spaces + each)[len(ids) :] for each in continuations]
    for each, tokens in zip(continuations, said, strict=True):
        if not tokens:
            raise DataError(
                f"{each!r} adds no token to the text before it, so it has no likelihood",
                mend="correct the choice, or the end of the prompt",
            )
    return ids, said


def item_likelihoods(
    local: LocalModel, items: Sequence[TokenItem], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[int, list[Likelihood]]]:
    """(number of the item, the likelihoods of its continuations) as they are found.

    Raises:
        UsageError, DataError: as `scoring.likelihoods`.
    """
    shared: list[_Item] = []
    alone: list[_Item] = []
    for index, (context, says) in enumerate(items):
        item = _Item(index, list(context), [list(each) for each in says])
        (shared if _can_share(local, item) else alone).append(item)
    shared.sort(key=lambda item: (-len(item.context), -item.cells, item.index))
    for batch in _batches(shared, batch_tokens):
        with torch.inference_mode(), torch.autocast(local.device.type, enabled=False):
            found = _both_passes(local, batch)
        if found is None:
            alone += batch
        else:
            yield from zip((item.index for item in batch), found, strict=True)
    yield from _whole(local, alone, batch_tokens)


def _whole(local: LocalModel, items: Sequence[_Item], batch_tokens: int) -> Iterator[tuple[int, list[Likelihood]]]:
    """Each pair read from its beginning; an item is done when its last pair is."""
    owner = [(at, number) for at, item in enumerate(items) for number in range(len(item.says))]
    found: list[dict[int, Likelihood]] = [{} for _ in items]
    pairs = [(items[at].context, items[at].says[number]) for at, number in owner]
    for pair, value in likelihoods(local, pairs, batch_tokens=batch_tokens):
        at, number = owner[pair]
        found[at][number] = value
        if len(found[at]) == len(items[at].says):
            yield items[at].index, [found[at][n] for n in range(len(items[at].says))]


def _can_share(local: LocalModel, item: _Item) -> bool:
    if local.objective != "causal" or len(item.says) < 2 or len(item.context) <= LEAST_SHARED:
        return False
    if not (local.takes("position_ids") or local.model.config.model_type == "bloom"):  # BLOOM: positions by the mask
        return False
    return len(item.context) + max(map(len, item.says)) - 1 <= local.context


def _batches(items: Sequence[_Item], batch_tokens: int) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    for item in items:
        longer = [*batch, item]
        width = len(longer[0].context)
        says = sum(len(each.says) for each in longer)
        wide = max(len(said) for each in longer for said in each.says)
        # The second pass copies the keys and values of the context for each continuation.
        if batch and (len(longer) * width + says * wide > batch_tokens or says * (width + wide) > 4 * batch_tokens):
            yield batch
            longer = [item]
        batch = longer
    if batch:
        yield batch


def _both_passes(local: LocalModel, batch: Sequence[_Item]) -> list[list[Likelihood]] | None:
    """None where the cache that the model made cannot be shared."""
    ids, mask = padded([item.context[:-1] for item in batch], local.device)
    only_last = {"logits_to_keep": 1} if local.takes("logits_to_keep") else {}
    cache: Any = local.model(input_ids=ids, attention_mask=mask, use_cache=True, **only_last).past_key_values
    if not all(type(layer).__name__ == "DynamicLayer" for layer in getattr(cache, "layers", [None])):
        return None
    owner = [at for at, item in enumerate(batch) for _ in item.says]
    cache.batch_select_indices(torch.tensor(owner, device=local.device))
    # The context's last token is read here: it predicts the first token of each continuation.
    says = [said for item in batch for said in item.says]
    reads = [[item.context[-1], *said[:-1]] for item in batch for said in item.says]
    new, new_mask = padded(reads, local.device)
    begin = torch.tensor([len(batch[at].context) - 1 for at in owner], device=local.device).unsqueeze(-1)
    where = {"position_ids": begin + torch.arange(new.shape[1], device=local.device)}
    logits = local.model(
        input_ids=new,
        attention_mask=torch.cat([mask[owner], new_mask], dim=1),
        past_key_values=cache,
        use_cache=True,
        **(where if local.takes("position_ids") else {}),
    ).logits
    scores = iter([likelihood(logits[row, : len(said)], said) for row, said in enumerate(says)])
    return [[next(scores) for _ in item.says] for item in batch]


def _encode(local: LocalModel, text: str, *, special: bool = True) -> list[int]:
    """Ids with what the tokenizer adds, once: a text that begins with BOS, as a chat template writes it, has it."""
    begins = local.tokenizer.bos_token
    if special and not (begins and text.startswith(begins)):
        return local.encode(text)
    ids: list[int] = local.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
