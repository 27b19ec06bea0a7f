"""Tasks that prompt a model or let it read texts: what they ask is answered by the model, or from what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, RunError, UsageError
from llmkit.registry.layout import ANSWER_AREA
from llmkit.stages import models
from llmkit.stages.base import Inputs, Raw
from llmkit.stages.kept_answers import VERSION, KeptAnswers
from llmkit.stages.measuring_data import documents_of, fewshot_rows_of, rows_of, whole_of

if TYPE_CHECKING:
    from llmkit.evaluation.prompted import PromptItem
    from llmkit.evaluation.result import TaskResult
    from llmkit.stages.measuring import Bench


def kept_answers(found: Inputs, side: str, device: str, cache: Path) -> KeptAnswers:
    """What the model of a side answered before. Of an endpoint or an unpinned name nothing is kept: it may change."""
    from llmkit.registry.values import digest_of

    parts: list[str] = []
    for role in (f"{side}model", "base" if not side else f"{side}model-base"):
        if role in found.artifacts:
            parts.append(found.artifacts[role].digest)
        elif role in found.raw:
            raw: Raw = found.raw[role]
            if not isinstance(raw.value, Path):
                return KeptAnswers(None)
            parts.append(raw.digest)
    return KeptAnswers(cache / ANSWER_AREA / digest_of([VERSION, device, *parts])[:32])


def run_choices(task: Any, bench: Bench) -> TaskResult:
    """Multiple choice."""
    from llmkit.evaluation.kinds.choice import evaluate_choices

    items = _items(task, bench, choices=True)
    return evaluate_choices(task.id, items, lambda asked: likelihoods(bench, asked), delimiter=_delimiter(task))


def run_cloze(task: Any, bench: Bench) -> TaskResult:
    """The last word of passages."""
    from llmkit.evaluation.kinds.choice import evaluate_cloze

    items = _items(task, bench)
    return evaluate_cloze(task.id, items, lambda asked: likelihoods(bench, asked), delimiter=_delimiter(task))


def run_classification(task: Any, bench: Bench) -> TaskResult:
    """Labels by a classifier's head, or the likeliest one after the prompt."""
    from llmkit.evaluation.kinds.choice import evaluate_classes
    from llmkit.models.classify import is_classifier, open_classifier

    _no_endpoint(task, bench)
    items = _items(task, bench)
    known = sorted({item.gold[0] for item in items})
    folder, adapter = models.folders_of(bench.found, f"{bench.side}model")
    if is_classifier(folder, adapter):
        asked = [item.prompt for item in items]
        shares = bench.kept.answers("classify", asked, lambda texts: _classified(texts, open_classifier, bench))
        labels = sorted({label for each in shares for label in each} | set(task.choices or ()))
        return evaluate_classes(task.id, items, labels, [max(each, key=each.__getitem__) for each in shares])
    labels = list(task.choices or known)
    if len(labels) < 2:
        raise DataError(f"all rows have the label '{labels[0]}'", where=f"task {task.id}", mend="give `choices`")
    asked_of = [(item.prompt, [_delimiter(task) + label for label in labels]) for item in items]
    found = likelihoods(bench, asked_of)
    said = [labels[max(range(len(labels)), key=lambda at: each[at][0])] for each in found]
    return evaluate_classes(task.id, items, labels, said, "the label is the likeliest one after the prompt")


def run_generation(task: Any, bench: Bench) -> TaskResult:
    """Texts written after prompts, greedily."""
    from llmkit.evaluation.kinds.generation import evaluate_generation

    items = _items(task, bench)
    return evaluate_generation(task.id, items, lambda prompts: _written(task, bench, prompts), task)


def run_pseudo_perplexity(task: Any, bench: Bench) -> TaskResult:
    """Masked models on texts."""
    from llmkit.evaluation.kinds.pseudo_perplexity import PseudoItem, evaluate_pseudo
    from llmkit.evaluation.tasks import draw

    _no_endpoint(task, bench)
    documents = draw(list(documents_of(task, bench)), task.limit, id_of=lambda d: d.id, seed=bench.cfg.seed)

    def ask(texts: Sequence[str]) -> Iterator[tuple[int, Any]]:
        from llmkit.generation.masked import pseudo_likelihoods

        yield from enumerate(pseudo_likelihoods(bench.model, texts))

    return evaluate_pseudo(
        task.id,
        [PseudoItem(each.id, each.text, whole_of(each)) for each in documents],
        lambda texts: [(value, tokens) for value, tokens in bench.kept.answers("pseudo", texts, ask)],
    )


def run_spans(task: Any, bench: Bench) -> TaskResult:
    """Answers marked in their contexts by a reader."""
    from llmkit.evaluation.kinds.spans import SpanItem, evaluate_spans
    from llmkit.evaluation.questions import qa_items
    from llmkit.evaluation.tasks import draw

    _no_endpoint(task, bench)
    rows = list(rows_of(task, bench))
    items = []
    for row, item in zip(rows, qa_items(rows), strict=True):
        context = row.values.get("context")
        if not isinstance(context, str) or not context:
            raise DataError("the record has no `context`", where=row.where, mend=f"it has: {', '.join(row.values)}")
        answers = tuple(answer for answer in item.answers if answer)
        items.append(SpanItem(item.id, item.question, context, answers, item.cluster))
    items = draw(items, task.limit, id_of=lambda item: item.id, seed=bench.cfg.seed)

    def ask(pairs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        from llmkit.models.reading import Reader
        from llmkit.train.precision import resolve_device

        folder, adapter = models.folders_of(bench.found, f"{bench.side}model")
        reader = Reader.open(folder, adapter=adapter, device=str(resolve_device(bench.cfg.device)))
        for begin in range(0, len(pairs), 32):
            for at, reading in enumerate(reader.read([tuple(pair) for pair in pairs[begin : begin + 32]]), begin):
                span = reading.answer(reader.threshold)
                yield at, span.text if span else ""

    return evaluate_spans(task.id, items, lambda pairs: bench.kept.answers("spans", [list(p) for p in pairs], ask))


def likelihoods(bench: Bench, asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[tuple[float, bool]]]:
    """(log-likelihood, greedy) of each continuation after its prompt."""

    def ask(requests: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        from llmkit.generation.shared import encode_item, item_likelihoods

        local = bench.model
        coded = [encode_item(local, prompt, says) for prompt, says in requests]
        for number, found in item_likelihoods(local, coded):
            yield number, [[each.value, each.greedy] for each in found]

    found = bench.kept.answers("likelihood", [[prompt, list(says)] for prompt, says in asked], ask)
    return [[(value, greedy) for value, greedy in each] for each in found]


def _classified(texts: Sequence[str], opened: Any, bench: Bench) -> Iterator[tuple[int, Any]]:
    from llmkit.train.precision import resolve_device

    folder, adapter = models.folders_of(bench.found, f"{bench.side}model")
    classify = opened(folder, adapter=adapter, device=str(resolve_device(bench.cfg.device)))
    for number, text in enumerate(texts):
        yield number, dict(classify(text))


def _written(task: Any, bench: Bench, prompts: Sequence[str]) -> list[Any]:
    from llmkit.evaluation.result import ItemFailure
    from llmkit.generation.sampling import Sampling

    sampling = Sampling(max_tokens=task.max_tokens, stop=task.stop)

    def ask(requests: Sequence[str]) -> Iterator[tuple[int, Any]]:
        writer = bench.generator()
        endpoint = models.is_endpoint(bench.found, f"{bench.side}model")
        for number, prompt in enumerate(requests):
            try:
                # A chat template, where one was asked for, is in the prompt already; an endpoint applies its own.
                said = writer.generate([{"role": "user", "content": prompt}] if endpoint else prompt, sampling)
            except RunError as error:
                yield number, {"error": str(error)}
            else:
                yield number, {"text": said.text}

    found = bench.kept.answers(f"write {asdict(sampling)}", prompts, ask)
    return [each["text"] if "text" in each else ItemFailure(id="?", message=each["error"]) for each in found]


def _items(task: Any, bench: Bench, *, choices: bool = False) -> list[PromptItem]:
    from dataclasses import replace

    from llmkit.evaluation.prompted import prompt_items
    from llmkit.evaluation.tasks import draw

    rows = list(rows_of(task, bench))
    examples = list(fewshot_rows_of(task, bench))
    items = draw(
        prompt_items(task, rows, examples, choices=choices),
        task.limit,
        id_of=lambda item: item.id,
        seed=bench.cfg.seed,
    )
    if not task.chat or models.is_endpoint(bench.found, f"{bench.side}model"):
        return items
    tokenizer = bench.model.tokenizer
    if not tokenizer.chat_template:
        raise UsageError(
            "the model has no chat template",
            where=f"task {task.id}",
            mend="leave `chat: true` out, or use a chat model",
        )
    return [
        replace(
            item,
            prompt=tokenizer.apply_chat_template(
                [{"role": "user", "content": item.prompt}], tokenize=False, add_generation_prompt=True
            ),
        )
        for item in items
    ]


def _delimiter(task: Any) -> str:
    return "" if task.chat else str(task.delimiter)


def _no_endpoint(task: Any, bench: Bench) -> None:
    if models.is_endpoint(bench.found, f"{bench.side}model"):
        raise UsageError(
            f"a task of the kind {task.kind} needs a model's weights, and an endpoint gives only text",
            where=f"task {task.id}",
            mend="name a local model, or use a `generation` task",
        )
