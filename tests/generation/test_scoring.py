import math
import random

import pytest
import torch

from llmkit.errors import DataError, UsageError
from llmkit.generation import scoring
from llmkit.generation.scoring import completion_nll, encode_document, encode_text, fill_mask, loglikelihood


def pairs(count=23, seed=0, longest=25):
    rng = random.Random(seed)

    def ids():
        return [rng.randrange(5, 400) for _ in range(rng.randint(1, longest))]

    return [(ids(), ids()) for _ in range(count)]


def by_hand(local, prompt, completion):
    """One sequence, no padding, transformers' own loss."""
    with torch.inference_mode():
        if local.objective == "seq2seq":
            out = local.model(input_ids=torch.tensor([prompt]), labels=torch.tensor([completion]))
            return out.loss.item() * len(completion)
        labels = torch.tensor([[-100] * len(prompt) + completion])
        return local.model(input_ids=torch.tensor([prompt + completion]), labels=labels).loss.item() * len(completion)


def test_completions_are_scored_as_by_transformers_own_loss(causal):
    requests = pairs()
    for (prompt, completion), score in zip(requests, completion_nll(causal, requests), strict=True):
        assert score.nll == pytest.approx(by_hand(causal, prompt, completion), rel=1e-5)
        assert (score.tokens, score.cut) == (len(completion), 0)


def test_completions_of_a_seq2seq_model_are_scored_as_by_transformers_own_loss(t5):
    requests = pairs()
    for (prompt, completion), score in zip(requests, completion_nll(t5, requests), strict=True):
        assert score.nll == pytest.approx(by_hand(t5, prompt, completion), rel=1e-5)


def test_no_score_depends_on_the_batch(causal, t5):
    requests = pairs()
    for local in (causal, t5):
        alone = completion_nll(local, requests, batch_tokens=1)
        for batch_tokens in (60, 200, 100_000):
            together = completion_nll(local, requests, batch_tokens=batch_tokens)
            assert [s.nll for s in together] == pytest.approx([s.nll for s in alone], rel=1e-5)


def test_scores_come_back_in_the_order_of_the_requests(gpt2):
    requests = pairs()
    order = random.Random(1).sample(range(len(requests)), len(requests))
    scores = completion_nll(gpt2, requests)
    shuffled = completion_nll(gpt2, [requests[i] for i in order])
    assert [s.nll for s in shuffled] == pytest.approx([scores[i].nll for i in order], rel=1e-5)


def test_batches_hold_no_more_tokens_or_logits_than_they_may(gpt2, monkeypatch):
    seen = []
    forward = gpt2.model.forward
    monkeypatch.setattr(scoring, "_LOGIT_CELLS", 40 * 400)
    monkeypatch.setattr(
        gpt2.model, "forward", lambda **inputs: (seen.append(inputs["input_ids"].shape), forward(**inputs))[1]
    )
    completion_nll(gpt2, pairs(), batch_tokens=100)
    assert len(seen) > 5
    assert all(rows == 1 or (rows * width <= 100 and rows * width <= 40) for rows, width in seen)
    assert seen[0][1] == max(width for _, width in seen), "the longest comes first"


def test_a_prompt_that_does_not_fit_loses_its_beginning_and_is_counted(gpt2):
    prompt, completion = list(range(5, 105)), list(range(200, 210))
    (score,) = completion_nll(gpt2, [(prompt, completion)])
    assert score.cut == 100 + 10 - 65
    (same,) = completion_nll(gpt2, [(prompt[score.cut :], completion)])
    assert same.nll == score.nll and same.cut == 0


def test_a_completion_longer_than_the_context_is_an_error_that_names_the_item(gpt2):
    with pytest.raises(DataError, match="item 2: the completion has 65 tokens and the model reads 64"):
        completion_nll(gpt2, [([1], [2]), ([1], [2] * 65)])


@pytest.mark.parametrize(("prompt", "completion", "what"), [([], [1], "prompt"), ([1], [], "completion")])
def test_nothing_to_read_or_to_say_is_an_error(gpt2, prompt, completion, what):
    with pytest.raises(DataError, match=f"the {what} is empty"):
        completion_nll(gpt2, [(prompt, completion)])


def test_no_requests_give_no_scores(gpt2):
    assert completion_nll(gpt2, []) == []


def test_autocast_around_it_changes_nothing(gpt2):
    requests = pairs(5)
    plain = completion_nll(gpt2, requests)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert completion_nll(gpt2, requests) == plain


def test_a_certain_model_has_no_loss(gpt2):
    with torch.no_grad():
        gpt2.model.transformer.ln_f.weight.zero_()
        gpt2.model.transformer.ln_f.bias.copy_(gpt2.model.lm_head.weight[7] * 100)
    (score,) = completion_nll(gpt2, [([1, 2], [7, 7, 7])])
    assert score.nll == pytest.approx(0, abs=1e-3)


def test_the_loglikelihood_is_the_negative_of_the_loss(gpt2):
    requests = pairs(4)
    assert loglikelihood(gpt2, requests) == [-score.nll for score in completion_nll(gpt2, requests)]


def test_rolling_likelihood_of_a_short_text_is_the_sum_of_its_tokens(gpt2):
    from llmkit.evaluation.metrics.likelihood import rolling_loglikelihoods

    ids = encode_text(gpt2, "def wrap(text): return text")
    (got,) = rolling_loglikelihoods([ids], lambda p: loglikelihood(gpt2, p), prefix=gpt2.prefix_id, length=64)
    assert got == pytest.approx(-by_hand(gpt2, [0], ids), rel=1e-5)


def test_rolling_windows_fit_the_model_exactly(gpt2):
    from llmkit.evaluation.metrics.likelihood import rolling_windows

    windows = list(rolling_windows(list(range(5, 205)), prefix=0, length=gpt2.context))
    assert [score.cut for score in completion_nll(gpt2, windows)] == [0, 0, 0, 0]


def test_the_prefix_is_bos_else_eos_else_an_error(gpt2):
    assert gpt2.prefix_id == 0
    gpt2.tokenizer.bos_token = None
    assert gpt2.prefix_id == 0
    gpt2.tokenizer.eos_token = None
    with pytest.raises(DataError, match="neither BOS nor EOS"):
        _ = gpt2.prefix_id


def test_a_control_tokens_name_in_a_document_is_ordinary_text(gpt2):
    assert 0 not in encode_text(gpt2, "the token <|endoftext|> ends a text")


def test_every_gap_gets_its_likeliest_words_in_order(bert):
    text = "def [MASK](text, [MASK]):"
    ids = bert.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        shares = bert.model(input_ids=ids).logits[0].softmax(-1)
    places = [i for i, token in enumerate(ids[0].tolist()) if token == bert.tokenizer.mask_token_id]
    filled = fill_mask(bert, text, k=3)
    assert len(filled) == len(places) == 2
    for place, words in zip(places, filled, strict=True):
        best = shares[place].topk(3)
        assert [w.probability for w in words] == pytest.approx(best.values.tolist(), rel=1e-4)
        assert [w.text for w in words] == [bert.tokenizer.decode([i]).strip() for i in best.indices.tolist()]
    assert math.isclose(sum(w.probability for w in fill_mask(bert, text, k=10_000)[0]), 1, rel_tol=1e-4)


def test_a_text_without_a_gap_says_how_to_write_one(bert):
    with pytest.raises(DataError, match="no gap") as caught:
        fill_mask(bert, "def wrap(text):")
    assert "[MASK]" in caught.value.mend


def test_a_gapped_text_must_fit_the_model(bert):
    with pytest.raises(DataError, match="the model reads 64"):
        fill_mask(bert, "[MASK] " * 100)


def test_tasks_and_models_must_fit_each_other(bert, gpt2):
    with pytest.raises(UsageError, match="no likelihood from left to right"):
        completion_nll(bert, [([1], [2])])
    with pytest.raises(UsageError, match="does not fill gaps"):
        fill_mask(gpt2, "[MASK]")


def test_a_document_has_what_the_tokenizer_adds_and_nothing_of_its_own_text_acts(gpt2):
    from tokenizers.processors import TemplateProcessing

    text = "wrap <|endoftext|>"
    plain = encode_text(gpt2, text)
    assert encode_document(gpt2, text) == plain
    gpt2.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    assert encode_document(gpt2, text) == [0, *plain] and encode_text(gpt2, text) == plain
