"""Tasks on bias, on memory of the training text, and on obedience to what stands in documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, UsageError
from llmkit.stages.measuring_data import role_of, rows_of

if TYPE_CHECKING:
    from llmkit.data.dataset import Dataset
    from llmkit.evaluation.kinds.injection import PlantedItem
    from llmkit.evaluation.result import TaskResult
    from llmkit.stages.measuring import Bench

MOST_PASSAGES = 500
"""Passages, or finds of personal data, that are asked for where no `limit` says how many."""


def crows_pairs(task: Any, bench: Bench) -> TaskResult:
    """Pairs of sentences through a model's likelihoods."""
    from llmkit.evaluation.kinds.crows_pairs import evaluate_crows_pairs, pair_items
    from llmkit.evaluation.tasks import draw
    from llmkit.generation.pairs import pair_likelihoods

    items = draw(pair_items(rows_of(task, bench)), task.limit, id_of=lambda item: item.id, seed=bench.cfg.seed)
    local = bench.model
    return evaluate_crows_pairs(task.id, items, lambda pairs: pair_likelihoods(local, pairs))


def memorisation(task: Any, bench: Bench) -> TaskResult:
    """Passages of the training text, and of the other splits as the control."""
    from llmkit.evaluation.kinds.memorisation import evaluate_memorisation, passages
    from llmkit.evaluation.tasks import draw
    from llmkit.generation.scoring import encode_text

    dataset, ref = _trained_on(task, bench)
    local = _causal(task, bench)
    longest = max(task.prefixes)

    def tokens(splits: Sequence[str]) -> Iterator[tuple[str, str, Sequence[int]]]:
        for split in splits:
            for each in dataset.documents(split):  # type: ignore[arg-type]  # one of the three names
                document = each.document
                yield f"{document.source}#{document.record}", document.source, encode_text(local, document.text)

    most = task.limit or MOST_PASSAGES
    items = []
    for trained, splits in ((True, ["train"]), (False, ["validation", "test"])):
        found = passages(
            tokens(splits), prefix=longest, continuation=task.continuation, trained=trained, seed=bench.cfg.seed
        )
        items += draw(found, most, id_of=lambda item: item.id, seed=bench.cfg.seed)
    notes = [f"the training text is that of {ref}"]
    if all(item.trained for item in items):
        notes.append(f"{ref} has no other split with text long enough: there is no control")
    return evaluate_memorisation(
        task.id, items, lambda pairs: _greedily(local, pairs), prefixes=task.prefixes, notes=notes
    )


def pii_leakage(task: Any, bench: Bench) -> TaskResult:
    """Personal data in the training text, found as `preprocess` finds them."""
    from llmkit.data.media import is_code
    from llmkit.data.steps.privacy.patterns import find_pii
    from llmkit.evaluation.kinds.privacy import Secret, evaluate_leakage
    from llmkit.evaluation.tasks import draw

    dataset, ref = _trained_on(task, bench)
    local = _causal(task, bench)
    found: dict[tuple[str, str], Secret] = {}
    for each in dataset.documents("train"):
        document = each.document
        for match in find_pii(document.text, code=is_code(document.media)):
            before = document.text[max(0, match.start - task.context) : match.start]
            place = f"{document.source}#{document.record}:{match.start}"
            found.setdefault((before, match.value), Secret(place, before, match.value, match.type, document.source))
    if not found:
        raise DataError(
            f"no personal data were found in the training text of {ref}: there is nothing that could leak",
            where=f"task {task.id}",
            mend="leave the task out, or name the data that hold some",
        )
    items = draw(list(found.values()), task.limit or MOST_PASSAGES, id_of=lambda item: item.id, seed=bench.cfg.seed)

    def writes(asked: Sequence[tuple[str, str]]) -> list[bool]:
        pairs = []
        for before, value in asked:
            prefix = [local.prefix_id, *_tokens(local, before)]
            whole = [local.prefix_id, *_tokens(local, before + value)]
            # Where the value's first token reaches into the text before, it begins at that token.
            shared = next((n for n, (a, b) in enumerate(zip(prefix, whole, strict=False)) if a != b), len(prefix))
            shared = max(1, min(shared, len(whole) - 1))
            pairs.append((whole[:shared], whole[shared:]))
        return _greedily(local, pairs)

    return evaluate_leakage(task.id, items, writes, notes=[f"the training text is that of {ref}"])


def _trained_on(task: Any, bench: Bench) -> tuple[Dataset, str]:
    """The dataset of texts that a task names, or that the model was trained on."""
    from llmkit.data.dataset import Dataset
    from llmkit.stages.seen import training_data

    role = role_of(task)
    if role in bench.found.raw:
        raise DataError(
            "which part of a file was trained on is not known", where=f"task {task.id}", mend="name a dataset"
        )
    if role in bench.found.artifacts:
        named = [bench.found.artifacts[role]]
    else:
        named = training_data(bench.found, bench.ctx.registry, f"{bench.side}model")
        named = [artifact for artifact in named if artifact.manifest.data_schema in (None, "text")]
    if len(named) != 1:
        many = ", ".join(artifact.ref for artifact in named)
        raise UsageError(
            f"the model was trained on several: {many}" if named else "the model's lineage names no dataset of texts",
            where=f"task {task.id}",
            mend="say which: `data: NAME`",
        )
    return Dataset.open(named[0].path), named[0].ref


def _causal(task: Any, bench: Bench) -> Any:
    if bench.model.objective != "causal":
        raise UsageError("only a model that writes on can recite", where=f"task {task.id}", mend="use a causal model")
    return bench.model


def _tokens(local: Any, text: str) -> list[int]:
    ids: list[int] = local.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _greedily(local: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[bool]:
    """Whether greedy decoding writes each continuation after its context."""
    from llmkit.generation.scoring import likelihoods

    found = {number: each.greedy for number, each in likelihoods(local, pairs)}
    return [found[number] for number in range(len(pairs))]


def injection(task: Any, bench: Bench) -> TaskResult:
    """Planted documents through the prompt of `ask`, or pasted before the question."""
    from llmkit.evaluation.kinds.injection import evaluate_injection, planted_items
    from llmkit.evaluation.tasks import draw
    from llmkit.generation.prompts import Passage, grounded_messages
    from llmkit.generation.sampling import Sampling

    model = bench.generator()
    items = planted_items(rows_of(task, bench), seed=bench.cfg.seed)
    items = draw(items, task.limit, id_of=lambda item: item.id, seed=bench.cfg.seed)
    sampling = Sampling(max_tokens=96)

    def reply(item: PlantedItem) -> str:
        messages = grounded_messages(item.question, [Passage(item.document, "document.txt")])
        if task.pasted:
            messages = [{"role": "user", "content": f"{item.document}\n\n{item.question}"}]
        return str(model.generate(messages, sampling).text)

    how = "document and question are pasted together" if task.pasted else "the prompt is that of `ask`"
    return evaluate_injection(task.id, items, reply, notes=[how])


def bbq(task: Any, bench: Bench) -> TaskResult:
    """The likeliest of three choices after the context and the question."""
    from llmkit.evaluation.kinds.bbq import BBQItem, bbq_items, evaluate_bbq
    from llmkit.evaluation.tasks import draw
    from llmkit.generation.scoring import completion_nll

    local = bench.model
    items = draw(bbq_items(rows_of(task, bench)), task.limit, id_of=lambda item: item.id, seed=bench.cfg.seed)

    def chooses(asked: Sequence[BBQItem]) -> list[int]:
        pairs = []
        for item in asked:
            prompt = local.encode(item.prompt)
            # As multiple choice in lm-evaluation-harness: the whole is encoded and cut behind the prompt.
            wholes = [local.encode(f"{item.prompt} {choice}") for choice in item.choices]
            pairs += [(prompt, whole[len(prompt) :]) for whole in wholes]
        found = iter(completion_nll(local, pairs))
        scores = [[next(found).nll for _ in item.choices] for item in asked]
        return [min(range(len(row)), key=row.__getitem__) for row in scores]

    return evaluate_bbq(task.id, items, chooses)
