"""Tasks on what is answered: from documents, under attack, before a judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, UsageError
from llmkit.stages.measuring_data import located, rows_of

if TYPE_CHECKING:
    from llmkit.answering.answer import Answer
    from llmkit.evaluation.kinds.rag import RagAnswer
    from llmkit.evaluation.result import TaskResult
    from llmkit.stages.measuring import Bench

JUDGE = "judge"
"""The role of the judge among a command's inputs."""
MADE = 50
"""Questions that are made where no `limit` says how many."""


def rag(task: Any, bench: Bench) -> TaskResult:
    """Answers from the index, or a model's alone, against gold answers and gold places."""
    from llmkit.answering.made import HOW_ANSWERED, rag_questions
    from llmkit.evaluation.kinds.rag import evaluate_rag
    from llmkit.evaluation.questions import rag_items
    from llmkit.evaluation.tasks import draw

    knowledge = bench.knowledge if bench.has("index") else None
    notes = [] if knowledge else ["there is no index: the model answers alone, without citations"]
    if task.data is None:
        if knowledge is None:
            raise UsageError(
                "questions are made of an index, and none is named", where=f"task {task.id}", mend="add --index REF"
            )
        items = rag_questions(knowledge.searcher.view, task.limit or MADE, seed=bench.cfg.seed)
        notes.append(f"the questions are made: {HOW_ANSWERED}")
    else:
        items = rag_items(rows_of(task, bench))
        if knowledge is not None:
            items = located(items, knowledge.searcher, task)
        items = draw(items, task.limit, id_of=lambda item: item.id, seed=bench.cfg.seed)
    if not items:
        raise DataError(
            "no question can be made of the index's documents: they hold no sentence with a word to take out",
            where=f"task {task.id}",
            mend="give a question file: `data: questions.jsonl`",
        )
    return evaluate_rag(task.id, items, _answerer(bench), notes=notes)


def _answerer(bench: Bench) -> Callable[[str], RagAnswer]:
    """Answers as `ask` gives them: quotes, a reader's marks in them, or a model's words."""
    from llmkit.answering.compose import MOST_LOG_ODDS
    from llmkit.evaluation.kinds.rag import RagAnswer
    from llmkit.generation.sampling import GREEDY
    from llmkit.stages.answers import from_index, said_in
    from llmkit.stages.reading import READER, marker_of
    from llmkit.stages.writing import alone, writer_of

    model = bench.generator() if bench.has("model") else None
    if not bench.has("index"):
        if model is None:
            raise AssertionError("a task that needs either has one")

        def by_itself(question: str) -> RagAnswer:
            text = str(alone(question, model, GREEDY)["answer"])
            return RagAnswer(text, not text.strip(), statements=1, unsupported=1)

        return by_itself
    knowledge = bench.knowledge
    knowledge.searcher.search("warm up")  # loading the encoder is no part of an answer's time
    reads = READER in bench.found.artifacts or READER in bench.found.raw
    marker = marker_of(bench.found, device=bench.cfg.device) if reads and model is None else None
    writer = writer_of(model, GREEDY) if model is not None else marker

    def confidence(found: Answer) -> float | None:
        judged = found.evidence
        if judged is None:
            return None
        if marker is None or not marker.may_refuse:
            return judged.score
        # What the index itself refuses a reader never sees: it comes after all that one did.
        return judged.reader if judged.reader is not None else judged.score - 2 * MOST_LOG_ODDS

    def from_documents(question: str) -> RagAnswer:
        return said_in(from_index(question, knowledge, writer=writer), confidence)

    return from_documents


def judged(task: Any, bench: Bench) -> TaskResult:
    """Answers against references, before the model that --judge names."""
    from llmkit.evaluation.kinds.judge import Said, evaluate_judged, judged_items
    from llmkit.evaluation.tasks import draw
    from llmkit.generation.sampling import Sampling
    from llmkit.stages import models

    if not bench.cfg.judge:
        raise UsageError("no model is named as the judge", where=f"task {task.id}", mend="add --judge REF")
    judge = models.generator(bench.found, JUDGE, device=bench.cfg.device)
    items = draw(judged_items(list(rows_of(task, bench))), task.limit, id_of=lambda i: i.id, seed=bench.cfg.seed)
    answers = _answerer(bench) if not all(item.answer for item in items) else None

    def answer(question: str) -> str:
        assert answers is not None  # noqa: S101  # it is where an item brings no answer
        return answers(question).text

    def ask(messages: list[dict[str, str]]) -> Said:
        done = judge.generate(messages, Sampling(max_tokens=256))
        return Said(done.text, done.prompt_tokens, done.tokens)

    return evaluate_judged(task.id, items, answer, ask, name=bench.cfg.judge)
