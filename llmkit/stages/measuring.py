"""The tasks of a suite, each handed the callables it measures through: a model's likelihoods, a search, an answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError
from llmkit.stages import measuring_answers, measuring_safety, models, prompting
from llmkit.stages.base import Context, Inputs
from llmkit.stages.kept_answers import KeptAnswers
from llmkit.stages.knowledge import Knowledge, opened
from llmkit.stages.measuring_answers import MADE
from llmkit.stages.measuring_data import documents_of, examples_of, indexed_documents, located, rows_of, whole_of
from llmkit.stages.meter import Meter

if TYPE_CHECKING:
    from llmkit.evaluation.result import TaskResult
    from llmkit.evaluation.tasks import Suite
    from llmkit.generation.local import LocalModel
    from llmkit.stages.eval import EvalConfig


def measure(suite: Suite, found: Inputs, side: str, cfg: EvalConfig, ctx: Context) -> list[TaskResult]:
    """Every task of the suite that this side ("" for the candidate, "baseline-") can be measured on.

    Raises:
        DataError: a task has no items, or data that does not fit it.
    """
    with ExitStack() as stack:
        bench = Bench(found, side, cfg, ctx, stack)
        results = []
        for task in suite.root:
            runner = RUNNERS[task.kind]
            if bench.has(runner.needs):
                with ctx.reporter.progress(f"{side.replace('-', ' ')}{task.id}", unit="items") as bar:
                    results.append(bench.meter.read(runner.run(task, bench)))
                    bar.advance(len(results[-1].items))
        return results


@dataclass
class Bench:
    """What tasks are measured with, each opened when the first task asks for it."""

    found: Inputs
    side: str
    cfg: EvalConfig
    ctx: Context
    stack: ExitStack
    meter: Meter = field(default_factory=Meter)
    _model: LocalModel | None = None
    _kept: KeptAnswers | None = None
    _knowledge: Knowledge | None = None

    def has(self, need: str) -> bool:
        """Whether this side has what a task needs; a baseline need not have all that the candidate has."""
        present = {
            "model": any(f"{self.side}model" in part for part in (self.found.artifacts, self.found.raw)),
            "index": f"{self.side}index" in self.found.artifacts,
        }
        return any(present.values()) if need == "either" else present[need]

    @property
    def model(self) -> LocalModel:
        if self._model is None:
            loaded = models.load(self.found, f"{self.side}model")
            self._model = models.local(loaded, device=self.cfg.device)
        return self._model

    @property
    def kept(self) -> KeptAnswers:
        """What this side's model answered before."""
        if self._kept is None:
            cache = self.ctx.registry.layout.cache
            self._kept = prompting.kept_answers(self.found, self.side, self.cfg.device, cache)
            self.stack.callback(self._kept.close)
        return self._kept

    @property
    def knowledge(self) -> Knowledge:
        if self._knowledge is None:
            artifact = self.found.artifacts[f"{self.side}index"]
            self._knowledge = self.stack.enter_context(opened(artifact, self.ctx.registry))
        return self._knowledge

    def generator(self) -> Any:
        """What answers questions: an endpoint, or the local model."""
        role = f"{self.side}model"
        if not models.is_endpoint(self.found, role):
            return self.model
        from llmkit.stages.metering import metered

        endpoint: Any = models.generator(self.found, role)
        return metered(endpoint, self.meter)


@dataclass(frozen=True)
class Runner:
    """How a kind of task is measured, and what on."""

    needs: str
    run: Callable[[Any, Bench], TaskResult]


def _loss(task: Any, bench: Bench) -> TaskResult:
    from llmkit.evaluation.kinds.loss import LossItem, evaluate_loss
    from llmkit.evaluation.tasks import draw
    from llmkit.generation.scoring import completion_nll

    local, items = bench.model, []
    for example in draw(examples_of(task, bench), task.limit, id_of=lambda e: e.id, seed=bench.cfg.seed):
        messages = [{"role": message.role, "content": message.content} for message in example.messages]
        encoded = local.encode_example(messages)
        prompt = "\n".join(message.content for message in example.prompt)
        items.append(
            LossItem(
                example.id,
                prompt,
                example.completion,
                encoded.prompt,
                encoded.completion,
                cluster=whole_of(example),
            )
        )
    return evaluate_loss(task.id, items, lambda pairs: completion_nll(local, pairs))


def _perplexity(task: Any, bench: Bench) -> TaskResult:
    from llmkit.evaluation.kinds.perplexity import TextItem, evaluate_perplexity
    from llmkit.evaluation.tasks import draw
    from llmkit.generation.scoring import encode_document, loglikelihood

    local = bench.model
    documents = draw(list(documents_of(task, bench)), task.limit, id_of=lambda d: d.id, seed=bench.cfg.seed)
    items = [TextItem(each.id, each.text, encode_document(local, each.text), whole_of(each)) for each in documents]
    return evaluate_perplexity(
        task.id, items, lambda pairs: loglikelihood(local, pairs), prefix=local.prefix_id, length=local.context
    )


def _retrieval(task: Any, bench: Bench) -> TaskResult:
    from llmkit.answering.made import HOW, retrieval_questions
    from llmkit.evaluation.kinds.retrieval import Place, evaluate_retrieval
    from llmkit.evaluation.questions import docstring_questions, retrieval_items
    from llmkit.evaluation.tasks import draw

    searcher = bench.knowledge.searcher
    made = ""
    if task.data is None:
        items = docstring_questions(indexed_documents(searcher)) if task.made != "sentences" else []
        made = "first lines of docstrings, which ask for their own definitions" if items else HOW
        if not items and task.made != "docstrings":
            items = retrieval_questions(searcher.view, task.limit or MADE, seed=bench.cfg.seed)
        if not items:
            raise DataError(
                "no question can be made of the index's own documents",
                where=f"task {task.id}",
                mend="give a question file: `data: questions.jsonl`",
            )
    else:
        items = located(retrieval_items(rows_of(task, bench)), searcher, task)
    most = max(task.cutoffs)
    searcher.search("warm up", most=most)  # the first search loads the encoder, which is no part of a search's time

    def search(question: str) -> list[Place]:
        return [
            Place(hit.chunk.source, hit.chunk.span, hit.chunk.record) for hit in searcher.search(question, most=most)
        ]

    chosen = draw(items, task.limit, id_of=lambda item: item.id, seed=bench.cfg.seed)
    return evaluate_retrieval(task.id, chosen, search, cutoffs=task.cutoffs, made=made)


def _qa(task: Any, bench: Bench) -> TaskResult:
    from llmkit.evaluation.kinds.qa import evaluate_qa
    from llmkit.evaluation.questions import qa_items
    from llmkit.evaluation.tasks import draw
    from llmkit.stages.answers import answer_text

    items = draw(qa_items(rows_of(task, bench)), task.limit, id_of=lambda item: item.id, seed=bench.cfg.seed)
    knowledge = bench.knowledge if bench.has("index") else None
    if knowledge is not None:
        knowledge.searcher.search("warm up")  # loading the encoder is no part of an answer's time
    model = bench.generator() if bench.has("model") else None
    return evaluate_qa(task.id, items, lambda question: answer_text(question, knowledge, model))


RUNNERS: dict[str, Runner] = {
    "loss": Runner("model", _loss),
    "perplexity": Runner("model", _perplexity),
    "retrieval": Runner("index", _retrieval),
    "qa": Runner("either", _qa),
    "multiple_choice": Runner("model", prompting.run_choices),
    "cloze": Runner("model", prompting.run_cloze),
    "generation": Runner("model", prompting.run_generation),
    "classification": Runner("model", prompting.run_classification),
    "spans": Runner("model", prompting.run_spans),
    "pseudo_perplexity": Runner("model", prompting.run_pseudo_perplexity),
    "rag": Runner("either", measuring_answers.rag),
    "crows_pairs": Runner("model", measuring_safety.crows_pairs),
    "bbq": Runner("model", measuring_safety.bbq),
    "memorisation": Runner("model", measuring_safety.memorisation),
    "pii_leakage": Runner("model", measuring_safety.pii_leakage),
    "injection": Runner("model", measuring_safety.injection),
    "judge": Runner("either", measuring_answers.judged),
}
