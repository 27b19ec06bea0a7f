"""Which of two sentences that differ in a few words a model finds likelier: for CrowS-Pairs and its like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import torch

from llmkit.errors import DataError
from llmkit.generation.local import LocalModel
from llmkit.generation.scoring import BATCH_TOKENS, encode_text, loglikelihood


def pair_likelihoods(local: LocalModel, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
    """Natural-log scores of both sentences of each pair.

    A masked model's is the pseudo-log-likelihood of Nangia et al. 2020 (arXiv:2010.00133): of the tokens that both
    sentences share, each masked alone, given all the others. Another model's is the log-likelihood of the sentence,
    as in lm-evaluation-harness.

    Raises:
        DataError: a sentence is empty or longer than the model reads, or a masked model's two share no token.
    """
    if local.objective == "masked":
        return [_shared_tokens(local, *pair) for pair in pairs]
    prefix = [local.prefix_id] if local.objective == "causal" else local.encode("")
    said = [(prefix or [local.prefix_id], encode_text(local, text)) for pair in pairs for text in pair]
    for _, ids in said:
        if not ids:
            raise DataError("a sentence of a pair is empty", mend="remove the pair or fill it in")
    found = loglikelihood(local, said)
    return list(zip(found[::2], found[1::2], strict=True))


def _shared_tokens(local: LocalModel, first: str, second: str) -> tuple[float, float]:
    ids, special = zip(*(_encoded(local, text) for text in (first, second)), strict=True)
    blocks = SequenceMatcher(None, ids[0], ids[1], autojunk=False).get_matching_blocks()
    shared = [(block.a + n, block.b + n) for block in blocks for n in range(block.size)]
    shared = [(a, b) for a, b in shared if not special[0][a] and not special[1][b]]
    if not shared:
        raise DataError(f"the two sentences share no token: {first!r}", mend="remove the pair")
    return (
        sum(_masked_one_by_one(local, ids[0], [a for a, _ in shared])),
        sum(_masked_one_by_one(local, ids[1], [b for _, b in shared])),
    )


def _encoded(local: LocalModel, text: str) -> tuple[list[int], list[int]]:
    found = local.tokenizer(text, return_special_tokens_mask=True)
    ids: list[int] = found["input_ids"]
    if len(ids) > local.context:
        raise DataError(
            f"a sentence has {len(ids):,} tokens and the model reads {local.context:,}", mend="remove the pair"
        )
    return ids, found["special_tokens_mask"]


def _masked_one_by_one(local: LocalModel, ids: Sequence[int], places: Sequence[int]) -> Iterator[float]:
    """The natural-log probability of each token, given all the others. All rows have one length: nothing is padded."""
    row = torch.tensor(list(ids), device=local.device)
    at_once = max(1, BATCH_TOKENS // len(ids))
    for begin in range(0, len(places), at_once):
        group = torch.tensor(places[begin : begin + at_once], device=local.device)
        lines = torch.arange(len(group), device=local.device)
        batch = row.repeat(len(group), 1)
        batch[lines, group] = int(local.tokenizer.mask_token_id)
        with torch.inference_mode(), torch.autocast(local.device.type, enabled=False):
            logits = local.model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits[lines, group]
        yield from torch.log_softmax(logits.float(), dim=-1).gather(-1, row[group].unsqueeze(-1)).flatten().tolist()
