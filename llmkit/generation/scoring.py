"""How likely a local model finds given text: for losses, perplexities, and the words that fill a gap.

Always in the precision of the weights, never under autocast. Sequences are batched by length, longest first, so that
memory runs out at once or not at all. Batches of other shapes change a result only by floating-point rounding (in
float32 a relative 1e-5 at most; measured: 2e-7 for GPT-2 and Llama, 7e-6 for T5), since padding is masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from llmkit.errors import DataError, UsageError
from llmkit.generation.local import LocalModel

BATCH_TOKENS = 4096
"""Tokens of one batch, padding included: enough to keep 2 CPU cores busy, little enough for any laptop."""
_LOGIT_CELLS = 1 << 26
"""Logits of one batch: 256 MB in float32."""

TokenPair = tuple[Sequence[int], Sequence[int]]


class CompletionScore(NamedTuple):
    """A completion's negative log-likelihood, summed, in nats; its tokens; how many of the prompt were cut to fit."""

    nll: float
    tokens: int
    cut: int


class Likelihood(NamedTuple):
    """A continuation's natural-log probability, and whether it is what greedy decoding would write."""

    value: float
    greedy: bool


class Fill(NamedTuple):
    """A candidate for a masked word, with its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class _Row:
    index: int
    reads: list[int]
    """What the model (of a seq2seq model, its encoder) reads."""
    says: list[int]
    cut: int


def completion_nll(
    local: LocalModel, pairs: Sequence[TokenPair], *, batch_tokens: int = BATCH_TOKENS
) -> list[CompletionScore]:
    """Score completions after their prompts, in the order given.

    A prompt too long for the context loses its beginning, as in lm-evaluation-harness; `cut` says by how much.

    Raises:
        UsageError: a masked model, which gives no likelihood from left to right.
        DataError: an empty prompt or completion, or a completion longer than the context.
    """
    rows = _rows(local, pairs)
    scores = {
        row.index: CompletionScore(-found.value, len(row.says), row.cut)
        for row, found in _scored(local, rows, batch_tokens)
    }
    return [scores[index] for index in range(len(pairs))]


def likelihoods(
    local: LocalModel, pairs: Sequence[TokenPair], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[int, Likelihood]]:
    """(number of the pair, its likelihood) as they are found, those of the longest pairs first.

    A context that does not fit loses its beginning, and a continuation that does not fit its own: what is left is
    scored, as in lm-evaluation-harness.

    Raises:
        UsageError, DataError: as `completion_nll`, but for a continuation that is too long.
    """
    most = local.context
    shorter = [(prompt, said[-most:]) if len(said) > most else (prompt, said) for prompt, said in pairs]
    for row, found in _scored(local, _rows(local, shorter), batch_tokens):
        yield row.index, found


def _rows(local: LocalModel, pairs: Sequence[TokenPair]) -> list[_Row]:
    """Longest first."""
    if local.objective == "masked":
        raise UsageError("a masked model has no likelihood from left to right", mend="use a causal or seq2seq model")
    return sorted((_row(local, i, *pair) for i, pair in enumerate(pairs)), key=lambda r: (-len(r.reads), -len(r.says)))


def _scored(local: LocalModel, rows: Sequence[_Row], batch_tokens: int) -> Iterator[tuple[_Row, Likelihood]]:
    score = _causal_batch if local.objective == "causal" else _seq2seq_batch
    for batch in _batches(local, rows, batch_tokens):
        with torch.inference_mode(), torch.autocast(local.device.type, enabled=False):
            found = score(local, batch)
        yield from zip(batch, found, strict=True)


def loglikelihood(local: LocalModel, pairs: Sequence[TokenPair]) -> list[float]:
    """Summed natural-log probability of each (context, continuation)."""
    return [-score.nll for score in completion_nll(local, pairs)]


def encode_text(local: LocalModel, text: str) -> list[int]:
    """Ids of a document for rolling perplexity: nothing is added, as `LocalModel.prefix_id` is put before it there.

    A control token's name in the text is ordinary characters, as it is in training.
    """
    ids: list[int] = local.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def encode_document(local: LocalModel, text: str) -> list[int]:
    """As `encode_text`, with what the tokenizer adds of its own (BOS), as lm-evaluation-harness counts perplexity.

    So a model whose tokenizer adds BOS is also asked how likely BOS is after the prefix token.
    """
    ids: list[int] = local.tokenizer(text, split_special_tokens=True)["input_ids"]
    return ids


def fill_mask(local: LocalModel, text: str, *, k: int = 5) -> list[list[Fill]]:
    """For each mask token in a text, the k likeliest words, likeliest first.

    Raises:
        UsageError: not a masked model.
        DataError: the text has no mask token, or is too long.
    """
    if local.objective != "masked":
        raise UsageError("this model writes on and does not fill gaps", mend="use a masked model, such as a BERT")
    mask = local.tokenizer.mask_token
    ids = local.tokenizer(text, return_tensors="pt")["input_ids"].to(local.device)
    if ids.shape[1] > local.context:
        raise DataError(
            f"the text has {ids.shape[1]:,} tokens and the model reads {local.context:,}", mend="shorten it"
        )
    places = (ids[0] == local.tokenizer.mask_token_id).nonzero().flatten()
    if len(places) == 0:
        raise DataError("the text has no gap to fill", mend=f"write {mask} where the word is missing")
    with torch.inference_mode(), torch.autocast(local.device.type, enabled=False):
        logits = local.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, places]
    best = torch.softmax(logits.float(), dim=-1).topk(min(k, logits.shape[-1]))
    return [
        [Fill(str(local.tokenizer.decode([token])).strip(), p) for token, p in zip(tokens, shares, strict=True)]
        for tokens, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _row(local: LocalModel, index: int, prompt: Sequence[int], completion: Sequence[int]) -> _Row:
    if not prompt or not completion:
        what = "completion" if prompt else "prompt"
        raise DataError(f"the {what} is empty", where=f"item {index + 1}", mend="remove the item or fill it in")
    if len(completion) > local.context:
        raise DataError(
            f"the completion has {len(completion):,} tokens and the model reads {local.context:,}",
            where=f"item {index + 1}",
            mend="leave the item out or split it",
        )
    if local.objective == "seq2seq":
        reads = list(prompt)[-local.context :]
        return _Row(index, reads, list(completion), len(prompt) - len(reads))
    # The last token is predicted and not read, so one more than the context fits.
    whole = [*prompt, *completion][-(local.context + 1) :]
    return _Row(index, whole[:-1], list(completion), len(prompt) + len(completion) - len(whole))


def _batches(local: LocalModel, rows: Sequence[_Row], batch_tokens: int) -> Iterator[list[_Row]]:
    vocabulary = local.model.config.get_text_config().vocab_size
    batch: list[_Row] = []
    for row in rows:
        longer = [*batch, row]
        width = max(len(r.reads) for r in longer)
        cells = len(longer) * _kept(local, longer) * vocabulary
        if batch and (len(longer) * width > batch_tokens or cells > _LOGIT_CELLS):
            yield batch
            longer = [row]
        batch = longer
    if batch:
        yield batch


def _kept(local: LocalModel, batch: Sequence[_Row]) -> int:
    """Last positions whose logits are needed."""
    if local.objective == "seq2seq":
        return max(len(row.says) for row in batch)
    width = max(len(row.reads) for row in batch)
    if not local.takes("logits_to_keep"):
        return width
    return width - min(len(row.reads) - len(row.says) for row in batch)


def _causal_batch(local: LocalModel, batch: Sequence[_Row]) -> list[Likelihood]:
    ids, mask = padded([row.reads for row in batch], local.device)
    kept = _kept(local, batch)
    only_last = {"logits_to_keep": kept} if local.takes("logits_to_keep") else {}
    logits = local.model(input_ids=ids, attention_mask=mask, use_cache=False, **only_last).logits
    offset = ids.shape[1] - kept
    return [
        likelihood(logits[i, len(row.reads) - len(row.says) - offset : len(row.reads) - offset], row.says)
        for i, row in enumerate(batch)
    ]


def _seq2seq_batch(local: LocalModel, batch: Sequence[_Row]) -> list[Likelihood]:
    ids, mask = padded([row.reads for row in batch], local.device)
    start = int(local.model.config.decoder_start_token_id)
    said, said_mask = padded([[start, *row.says[:-1]] for row in batch], local.device)
    logits = local.model(
        input_ids=ids,
        attention_mask=mask,
        decoder_input_ids=said,
        decoder_attention_mask=said_mask,
        use_cache=False,
    ).logits
    return [likelihood(logits[i, : len(row.says)], row.says) for i, row in enumerate(batch)]


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, shape (rows, longest), padded on the right."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask


def likelihood(logits: torch.Tensor, targets: Sequence[int]) -> Likelihood:
    """Of targets, summed over positions; logits of shape (positions, vocabulary)."""
    wanted = torch.tensor(targets, device=logits.device)
    shares = torch.log_softmax(logits.float(), dim=-1)
    greedy = bool((shares.argmax(dim=-1) == wanted).all())
    return Likelihood(float(shares.gather(-1, wanted.unsqueeze(-1)).sum()), greedy)
