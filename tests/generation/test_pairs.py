import pytest
import torch
from support.tiny import tiny_model

from llmkit.generation.local import LocalModel
from llmkit.generation.pairs import pair_likelihoods
from llmkit.models.load import load_model

WORDS = ["the", "old", "young", "man", "woman", "was", "very", "good", "at", "maths", "and", "not", "so", "bad"]
MORE, LESS = "the old man was very bad at maths", "the young man was very bad at maths"


def opened(folder, family):
    loaded = load_model(tiny_model(folder, family, WORDS))
    return LocalModel(loaded.model, loaded.tokenizer, loaded.objective)


def test_a_masked_models_score_is_of_the_shared_tokens_each_masked_alone(tmp_path):
    local = opened(tmp_path, "bert")
    (got,) = pair_likelihoods(local, [(MORE, LESS)])
    ids = [local.tokenizer(text)["input_ids"] for text in (MORE, LESS)]
    # By hand: what stands before and behind the word that differs, each token masked in a call of its own.
    head = next(n for n, (a, b) in enumerate(zip(*ids, strict=False)) if a != b)
    tail = next(n for n, (a, b) in enumerate(zip(ids[0][::-1], ids[1][::-1], strict=False)) if a != b)
    for side, row in enumerate(ids):
        total, masks = 0.0, 0
        for place in [*range(head), *range(len(row) - tail, len(row))]:
            if row[place] in local.tokenizer.all_special_ids:
                continue
            masked = torch.tensor([row])
            masked[0, place] = local.tokenizer.mask_token_id
            with torch.no_grad():
                logits = local.model(input_ids=masked).logits[0, place]
            masks += 1
            total += float(torch.log_softmax(logits, -1)[row[place]])
        assert masks >= 3
        assert got[side] == pytest.approx(total, rel=1e-5)


def test_a_causal_models_score_is_the_likelihood_of_the_sentence(tmp_path):
    local = opened(tmp_path, "gpt2")
    (got,) = pair_likelihoods(local, [(MORE, LESS)])
    for score, text in zip(got, (MORE, LESS), strict=True):
        ids = [local.prefix_id, *local.tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            logits = local.model(input_ids=torch.tensor([ids])).logits[0]
        by_hand = torch.log_softmax(logits, -1)[range(len(ids) - 1), ids[1:]].sum()
        assert score == pytest.approx(float(by_hand), rel=1e-5)
