"""The model card: a README.md, as the Hub reads it, written from what was recorded while the model was made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llmkit.models.families import Objective
from llmkit.models.uses import SENTENCE_TRANSFORMERS, Use, use_of
from llmkit.reporting.figures import number, share
from llmkit.reporting.inert import inert
from llmkit.reporting.markdown import (
    block,
    code,
    front_matter,
    hub_licence,
    input_table,
    made_by,
    plain,
    table,
)

_LEAST_LANGUAGE = 0.01
"""Share of the documents from which a language is one of the model's."""
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_SMALL = 1_000_000_000
"""Parameters below which a model knows little of the world (GPT-3's smaller models: arXiv:2005.14165, figure 1.2)."""
_COMPUTE_OPTIMAL = 20
"""Tokens a parameter (Hoffmann et al. 2022, arXiv:2203.15556, table 3)."""
_REPEATED = 4
"""Passes over a text after which new passes teach much less (Muennighoff et al. 2023, arXiv:2305.16264)."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

Source = tuple[str, str, str]
"""(role, reference, sha256) of something a model was made from."""


@dataclass(frozen=True)
class DataUsed:
    """One dataset that a model read.

    Attributes:
        ref, digest: of the dataset or the file.
        report: its report.json; empty for a file.
        licence: of the whole, if somebody said.
        tokens: that were there to be read; `epochs`: how often they were.
    """

    ref: str
    digest: str
    report: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    tokens: int | None = None
    epochs: float | None = None

    @property
    def licences(self) -> Sequence[str]:
        return [self.licence] if self.licence else list(self.report.get("licences", {})) or ["unknown"]


@dataclass(frozen=True)
class ModelFacts:
    """What a card is written from.

    Attributes:
        kind: all weights, or an adapter on a base.
        task: what it was tuned for, as its `task.json` says; empty for one that was pretrained.
        model_type: of its transformers configuration.
        shape: (what, value) of its architecture.
        parameters: in its own files.
        base: reference of the model it goes on from; `base_inputs`: what that was made from.
        inputs: what it was made from itself.
        metrics: as they were recorded; speeds are passed over.
        scores: of its held-out examples by metric, each with `before`, `after`, `difference` and the intervals `ci` and
            `difference_ci`; `compared_with`: what `before` is of, if not of the base.
        verdict: on its curves, in words.
    """

    name: str
    kind: Literal["model", "adapter"]
    objective: Objective
    model_type: str
    parameters: int
    shape: Sequence[tuple[str, object]] = ()
    data: Sequence[DataUsed] = ()
    base: str | None = None
    base_inputs: Sequence[Source] = ()
    inputs: Sequence[Source] = ()
    command: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compared_with: str = ""

    @property
    def use(self) -> Use:
        return use_of(self.task, self.objective)


def model_card(facts: ModelFacts) -> str:
    """The card as Markdown with YAML front matter. Equal facts give equal text; foreign text in it is inert."""
    sections = (_intro(facts), _loading(facts), _data(facts), _training(facts), _limits(facts), _origin(facts))
    return "\n\n".join([front_matter(_head(facts)), *(section for section in sections if section)]) + "\n"


def _head(facts: ModelFacts) -> dict[str, object]:
    head: dict[str, object] = {}
    if languages := _languages(facts):
        head["language"] = languages
    # A model's licence is for its makers to choose: the data's do not pass over to it by themselves.
    head["license"] = "unknown"
    head["library_name"] = "peft" if facts.kind == "adapter" else facts.use.library
    head["pipeline_tag"] = facts.use.pipeline
    head["tags"] = ["llmkit", inert(facts.model_type), *(["lora"] if facts.kind == "adapter" else [])]
    if facts.base:
        head["base_model"] = _repository(facts.base)
    if facts.data:
        head["datasets"] = [_repository(each.ref) for each in facts.data]
    if results := _results(facts):
        head["model-index"] = [{"name": inert(facts.name), "results": results}]
    return head


def _repository(ref: str) -> str:
    """A reference as the Hub's header may have it: a name, without the version that the registry gave."""
    return inert(ref).partition("@")[0]


def _languages(facts: ModelFacts) -> list[str]:
    counts: dict[str, int] = {}
    for each in facts.data:
        for language, row in each.report.get("languages", {}).items():
            counts[language] = counts.get(language, 0) + row.get("documents", 0)
    total = sum(counts.values())
    known = [name for name in counts if _LANGUAGE.fullmatch(name) and name != "und"]
    return sorted(name for name in known if counts[name] >= _LEAST_LANGUAGE * total)


def _results(facts: ModelFacts) -> list[dict[str, object]]:
    """The held-out figures as the Hub's model-index has them, where they are of one dataset."""
    if len(facts.data) != 1 or "loss" not in facts.metrics:
        return []
    names = {"loss": f"held-out loss, {facts.use.loss}", "perplexity": "perplexity", "bits_per_byte": "bits per byte"}
    names |= {name: name.replace("_", " ") for name in facts.scores}
    metrics = [
        {"type": key, "value": float(f"{facts.metrics[key]:.6g}"), "name": name}
        for key, name in names.items()
        if key in facts.metrics
    ]
    dataset = {"name": inert(facts.data[0].ref), "type": _repository(facts.data[0].ref), "split": "validation"}
    return [{"task": {"type": facts.use.pipeline}, "dataset": dataset, "metrics": metrics}]


def _intro(facts: ModelFacts) -> str:
    what = (
        f"An adapter for {code(facts.base or '')}" if facts.kind == "adapter" else f"A {plain(facts.model_type)} model"
    )
    trained = f", trained on {', '.join(code(each.ref) for each in facts.data)}" if facts.data else ""
    rows = [("parameters", facts.parameters), *facts.shape]
    said = f"{what} of {facts.parameters:,} parameters{trained}. Written by llmkit from the record of how it was made."
    return f"# {plain(facts.name)}\n\n{said}\n\n{table(('', ''), rows)}"


def _data(facts: ModelFacts) -> str:
    if not facts.data:
        return ""
    rows = []
    for each in facts.data:
        splits: Mapping[str, Mapping[str, int]] = each.report.get("splits", {})
        train = splits.get("train", {})
        licences = sorted({hub_licence(name.strip().lower()) for name in each.licences})
        rows.append(
            (each.ref, train.get("documents", train.get("examples")), each.tokens, _times(each), ", ".join(licences))
        )
    head = ("dataset", "documents", "tokens", "times read", "licences")
    base = ""
    if facts.base_inputs:
        base = f"\n\nIts base, {code(facts.base or '')}, was made from:\n\n{input_table(facts.base_inputs)}"
    return f"## What it was trained on\n\n{table(head, rows)}{base}"


def _times(each: DataUsed) -> float | None:
    return None if each.epochs is None else float(f"{each.epochs:.3g}")


def _training(facts: ModelFacts) -> str:
    measured = facts.metrics
    of = {"masked": " of hidden tokens", "seq2seq": " of the missing spans"}.get(facts.objective, "")
    shown = [
        ("steps", measured.get("steps")),
        ("weights of step", measured.get("published_step")),
        ("tokens trained on", measured.get("trained_tokens")),
        (f"training loss, {facts.use.loss}", _four(measured.get("train_loss"))),
        ("held-out loss before", _four(measured.get("initial_loss"))),
        (f"held-out loss{of}", _four(measured.get("loss"))),
        (f"perplexity{of}", _four(measured.get("perplexity"))),
        ("bits per byte", _four(measured.get("bits_per_byte"))),
    ]
    rows = [(name, value) for name, value in shown if value is not None]
    if not rows:
        return ""
    said = f"\n\n{plain(facts.verdict[:1].upper() + facts.verdict[1:])}." if facts.verdict else ""
    return (
        f"## Training\n\n{table(('', ''), rows)}{said} The curves are in `report.html`, the steps in `metrics.jsonl`."
        + _scores(facts)
    )


def _scores(facts: ModelFacts) -> str:
    """What the tuning changed on the held-out examples, with 95% intervals."""
    if not facts.scores:
        return ""
    rows = [
        (
            name.replace("_", " "),
            _four(score["before"]),
            f"{_four(score['after'])}{_interval(score.get('ci'))}",
            f"{score['difference']:+.4g}{_interval(score.get('difference_ci'), '+')}",
            score.get("n"),
        )
        for name, score in facts.scores.items()
    ]
    shown = table(("", "before", "after", "difference", "examples"), rows)
    versus = f" Before is {plain(facts.compared_with)}." if facts.compared_with else ""
    return f"\n\nOn the held-out examples, with 95% intervals (of the difference, paired):{versus}\n\n{shown}"


def _interval(ends: Sequence[float] | None, sign: str = "") -> str:
    return f" ({ends[0]:{sign}.4g} to {ends[1]:{sign}.4g})" if ends else ""


def _four(value: object) -> str | None:
    return f"{value:.4g}" if isinstance(value, float) else None


def _limits(facts: ModelFacts) -> str:
    """What the record shows that a user must know; nothing is said that was not measured."""
    limits: list[str] = []
    if facts.kind == "model" and facts.parameters < _SMALL:
        limits.append(
            f"With {number(facts.parameters)} parameters it is a small model. It imitates the text it read; do not "
            "rely on what it states."
        )
    tokens = facts.metrics.get("trained_tokens")
    if facts.kind == "model" and not facts.base and tokens and tokens < _COMPUTE_OPTIMAL * facts.parameters:
        limits.append(
            f"It read {tokens / facts.parameters:.2g} tokens for each parameter; about {_COMPUTE_OPTIMAL} are "
            "compute-optimal (arXiv:2203.15556)."
        )
    for each in facts.data:
        if each.epochs is not None and each.epochs > _REPEATED:
            limits.append(f"It read {code(each.ref)} {each.epochs:.3g} times over, and may repeat it word for word.")
        pii = sum(row.get("found", 0) for row in each.report.get("pii", {}).values())
        if pii and each.report.get("pii_mode") == "count":
            limits.append(
                f"{code(each.ref)} has personal data or keys that were found and kept ({pii:,}): it may repeat them."
            )
        unknown = each.report.get("licences", {}).get("unknown", {}).get("documents", 0)
        if unknown or each.licences == ["unknown"]:
            rows = sum(row.get("documents", 0) for row in each.report.get("licences", {}).values())
            part = f"{share(unknown, rows)} of " if unknown < rows else ""
            limits.append(f"The licence of {part}{code(each.ref)} is not known: ask before you publish the model.")
    if "loss" not in facts.metrics:
        limits.append("Nothing was held out: no figure says how well it does on text it has not read.")
    elif len(facts.data) == 1:
        limits.append("Its figures are for the held-out part of its own data; it was not measured on anything else.")
    limits.append("It was not examined for bias or harmful output.")
    return "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _loading(facts: ModelFacts) -> str:
    # A name that is none by the registry's rule is left out, so that a command that is copied does nothing else.
    ref = facts.name if _NAME.fullmatch(facts.name) else "NAME"
    use = f"    {facts.use.command.format(name=ref)}"
    tokenizer = 'tokenizer = transformers.AutoTokenizer.from_pretrained(".")'
    loaded = f"transformers.{facts.use.loader}.from_pretrained"
    if facts.kind == "adapter":
        labels = facts.task.get("labels") if facts.use.head else None
        head = f", num_labels={len(labels)}" if labels else ""
        lines = (
            f'base = {loaded}("BASE"{head})  # {inert(facts.base or "")}\n'
            'model = peft.PeftModel.from_pretrained(base, ".")'
        )
        imports, library = "import peft\nimport transformers", "transformers and peft"
    elif facts.use.library == SENTENCE_TRANSFORMERS:
        lines, tokenizer = 'model = sentence_transformers.SentenceTransformer(".")', ""
        imports, library = "import sentence_transformers", facts.use.library
    else:
        lines, imports, library = f'model = {loaded}(".")', "import transformers", "transformers"
    snippet = block(f"{imports}\n\n{lines}\n{tokenizer}".rstrip())
    return f"## How to load it\n\n{use}\n\nWith {library}, in this folder:\n\n{snippet}"


def _origin(facts: ModelFacts) -> str:
    parts = ["## How it was made"]
    if facts.inputs:
        parts.append(input_table(facts.inputs))
    parts += made_by(facts.command, facts.options, facts.packages)
    return "\n\n".join(parts) if len(parts) > 1 else ""
