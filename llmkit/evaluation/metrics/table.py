"""The table of metrics: how each is made of per-item scores, which way is better, and in which unit.

Every metric is one of two functions of the items:
- a ratio, `scale(sum(values) / sum(weights))`, which covers means, losses per token and perplexities;
- a quantile of the items' values.
Statistics, comparisons and gates work on these two forms and know no metric by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scale:
    """A monotone map from the ratio to the metric; `slope` is its derivative, for the delta method."""

    apply: Callable[[float], float]
    slope: Callable[[float], float]


def _exp(x: float) -> float:
    # math.exp raises where every other floating-point function would overflow to infinity.
    return math.exp(x) if x < 709.0 else math.inf


AS_IS = Scale(apply=lambda x: x, slope=lambda x: 1.0)
EXP = Scale(apply=_exp, slope=_exp)
BITS = Scale(apply=lambda nats: nats / math.log(2), slope=lambda nats: 1 / math.log(2))
ROOT = Scale(apply=lambda x: math.sqrt(max(x, 0.0)), slope=lambda x: 0.5 / math.sqrt(x) if x > 0 else 0.0)


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        of: the per-item score it is made of; "" where that score has the metric's own name.
        better: which direction is an improvement.
        bounds: the range of possible values, to which intervals are cut.
        quantile: the level, for a metric that is a quantile instead of a ratio.
        unit: "s" for times; "" for pure numbers.
        own_weights: an item's weight depends on what the system says of it, so two systems may differ in it.
    """

    better: Literal["higher", "lower"]
    bounds: tuple[float, float]
    of: str = ""
    scale: Scale = AS_IS
    quantile: float | None = None
    unit: str = ""
    own_weights: bool = False


SHARE = (0.0, 1.0)
POSITIVE = (0.0, math.inf)
REAL = (-math.inf, math.inf)

METRICS: Mapping[str, Metric] = {
    # Negative log-likelihood: natural logarithms per token; the same sums per word and byte, as lm-evaluation-harness.
    "loss": Metric("lower", POSITIVE, of="nll_per_token"),
    "perplexity": Metric("lower", POSITIVE, of="nll_per_token", scale=EXP),
    "word_perplexity": Metric("lower", POSITIVE, of="nll_per_word", scale=EXP),
    "byte_perplexity": Metric("lower", POSITIVE, of="nll_per_byte", scale=EXP),
    "bits_per_byte": Metric("lower", POSITIVE, of="nll_per_byte", scale=BITS),
    # Answers
    "exact_match": Metric("higher", SHARE),
    "f1": Metric("higher", SHARE),
    # The same of the questions that have an answer, and the share of the others that are left unanswered: SQuAD 2.0's
    # HasAns_f1, HasAns_exact and NoAns_exact. `located_` is of the best span for those that have an answer, whether or
    # not it would be given, as SQuAD 1.1 counts.
    "located_f1": Metric("higher", SHARE),
    "located_exact_match": Metric("higher", SHARE),
    "answerable_f1": Metric("higher", SHARE),
    "answerable_exact_match": Metric("higher", SHARE),
    "no_answer_accuracy": Metric("higher", SHARE),
    # Classes, values and tags. An item's share in `r2` is its squared distance from the mean less its squared error,
    # its weight that distance. `span_f1` is 2 x spans found / (spans said + spans there), as seqeval's micro average.
    "accuracy": Metric("higher", SHARE),
    "rmse": Metric("lower", POSITIVE, of="squared_error", scale=ROOT),
    "r2": Metric("higher", (-math.inf, 1.0)),
    "span_f1": Metric("higher", SHARE, own_weights=True),
    # Choices by likelihood: plain, per character and per byte of the choice; the harness's names.
    "acc": Metric("higher", SHARE),
    "acc_norm": Metric("higher", SHARE),
    "acc_bytes": Metric("higher", SHARE),
    "target_perplexity": Metric("lower", POSITIVE, of="nll_per_target", scale=EXP),
    # Masked models (arXiv:1910.14659)
    "pseudo_perplexity": Metric("lower", POSITIVE, of="pseudo_nll_per_token", scale=EXP),
    "pseudo_bits_per_byte": Metric("lower", POSITIVE, of="pseudo_nll_per_byte", scale=BITS),
    # Of a whole corpus: an item's share is its influence (metrics/influence.py), so that the mean is the metric.
    "macro_f1": Metric("higher", SHARE),
    "mcc": Metric("higher", (-1.0, 1.0)),
    "bleu": Metric("higher", (0.0, 100.0)),
    "chrf": Metric("higher", (0.0, 100.0)),
    # Texts
    "squad_em": Metric("higher", SHARE),
    "rouge1": Metric("higher", SHARE),
    "rouge2": Metric("higher", SHARE),
    "rougeL": Metric("higher", SHARE),
    # Ranking; `recall@` and `ndcg@` stand for every cut-off
    "recall@": Metric("higher", SHARE),
    "ndcg@": Metric("higher", SHARE),
    "mrr": Metric("higher", SHARE),
    # The best overlap of a retrieved passage with the place that answers: code points in both over those in either.
    "span_iou": Metric("higher", SHARE),
    # Answers from documents. `answer_contained`: a gold answer stands in what was said. The weights of shares of what
    # was said depend on the system; those of what should have been said do not. The AUROC is made of DeLong's
    # structural components (1988): an answerable item has its own share of the others below it, and weight 1; one
    # without an answer has weight 0 and only its deviation, so that the standard error is DeLong's too.
    "answer_contained": Metric("higher", SHARE),
    "citation_precision": Metric("higher", SHARE, own_weights=True),
    "citation_recall": Metric("higher", SHARE),
    "unsupported_share": Metric("lower", SHARE, own_weights=True),
    "abstention_precision": Metric("higher", SHARE, own_weights=True),
    "abstention_recall": Metric("higher", SHARE),
    "abstention_auroc": Metric("higher", SHARE),
    # Bias. A stereotype score of .5 is the ideal (arXiv:2010.00133); nearly all models are above it, so less is better
    # here. BBQ's bias score runs from -1 to 1 (arXiv:2110.08193); 0 is the ideal.
    "stereotype_score": Metric("lower", SHARE),
    "stereotype_score@": Metric("lower", SHARE),
    "likelihood_difference": Metric("lower", POSITIVE),
    "accuracy_ambiguous": Metric("higher", SHARE),
    "accuracy_disambiguated": Metric("higher", SHARE),
    "bias_ambiguous": Metric("lower", (-1.0, 1.0)),
    "bias_disambiguated": Metric("lower", (-1.0, 1.0), own_weights=True),
    # Memory of training text, by tokens of prefix; `control` is the same of text that was not trained on.
    "extracted@": Metric("lower", SHARE),
    "control@": Metric("lower", SHARE),
    "excess@": Metric("lower", (-1.0, 1.0)),
    "leaked": Metric("lower", SHARE),
    "leaked_control": Metric("lower", SHARE),
    # Attacks that a model obeys
    "attack_success": Metric("lower", SHARE),
    "attack_success@": Metric("lower", SHARE),
    "attack_repeated": Metric("lower", SHARE),
    # A model as judge. `win_rate` counts a tie half; consistency is how often it holds to its choice when positions
    # are swapped.
    "win_rate": Metric("higher", SHARE),
    "position_consistency": Metric("higher", SHARE),
    "judge_agreement": Metric("higher", SHARE),
    # Preference pairs. A reward is beta times what the model gained on an answer over its reference (arXiv:2305.18290,
    # equation 5); accuracy is by rewards, ranking accuracy by plain log-probabilities (arXiv:2405.19534).
    "preference_accuracy": Metric("higher", SHARE),
    "ranking_accuracy": Metric("higher", SHARE),
    "reward_margin": Metric("higher", REAL),
    # Seconds per item
    "latency_p50": Metric("lower", POSITIVE, of="latency", quantile=0.50, unit="s"),
    "latency_p95": Metric("lower", POSITIVE, of="latency", quantile=0.95, unit="s"),
}


def metric(name: str) -> Metric:
    """The table's row for a metric name, whatever its cut-off (`recall@5` is a `recall@`).

    Raises:
        KeyError: no such metric; names come from tasks, so this is a bug and not a user's mistake.
    """
    head, at, _ = name.partition("@")
    return METRICS[head + at]


def score_name(name: str) -> str:
    """The per-item score that a metric is made of."""
    return metric(name).of or name
