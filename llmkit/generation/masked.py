"""Pseudo-log-likelihoods by a masked model: each token masked in turn (Salazar et al., 2020, arXiv:1910.14659)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from llmkit.errors import DataError, UsageError
from llmkit.generation.local import LocalModel
from llmkit.generation.scoring import BATCH_TOKENS


def pseudo_likelihoods(
    local: LocalModel, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[float, int]]:
    """(pseudo-log-likelihood in nats, tokens without the special ones) of each text, in their order.

    Copies of one text have one length, so batches need no padding.

    Raises:
        UsageError: not a masked model, or one without a mask token.
        DataError: a text is longer than the model reads.
    """
    mask = local.tokenizer.mask_token_id
    if local.objective != "masked" or mask is None:
        raise UsageError(
            "this model fills no gaps", mend="use a masked model, such as a BERT; `perplexity` is for others"
        )
    for number, text in enumerate(texts, start=1):
        coded = local.tokenizer(text, return_special_tokens_mask=True, verbose=False)
        ids = torch.tensor(coded["input_ids"], device=local.device)
        if len(ids) > local.context:
            raise DataError(
                f"the text has {len(ids):,} tokens and the model reads {local.context:,}",
                where=f"item {number}",
                mend="split it into shorter documents",
            )
        places = [at for at, special in enumerate(coded["special_tokens_mask"]) if not special]
        total = 0.0
        at_once = max(1, batch_tokens // max(1, len(ids)))
        for begin in range(0, len(places), at_once):
            group = torch.tensor(places[begin : begin + at_once], device=local.device)
            rows = torch.arange(len(group), device=local.device)
            batch = ids.repeat(len(group), 1)
            batch[rows, group] = mask
            with torch.inference_mode(), torch.autocast(local.device.type, enabled=False):
                logits = local.model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits[rows, group]
            total += float(torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[group].unsqueeze(-1)).sum())
        yield total, len(places)
