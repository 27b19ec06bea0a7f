"""`llmkit ask`: an answer with quotes that were looked up in their source, or an honest "not in these documents"."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import option
from llmkit.config.sections import RankingOptions, RecordOptions
from llmkit.config.trust import leaves_this_machine
from llmkit.errors import NotFoundError, UsageError
from llmkit.stages import models
from llmkit.stages.answer_view import headline, show
from llmkit.stages.answers import as_payload, explanation_of, from_index, from_model
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage, StageConfig
from llmkit.stages.knowledge import Knowledge, opened
from llmkit.stages.question_log import Recorder
from llmkit.stages.questions import ANSWERS_FILE, Question, answered, answered_in, read_questions
from llmkit.stages.reading import READER, RERANKER, marker_of, ranking_of
from llmkit.stages.result import BATCH

if TYPE_CHECKING:
    from llmkit.answering.fitting import Writer
    from llmkit.answering.quoting import Marker
    from llmkit.registry.store import Registry


class AskConfig(StageConfig):
    """Options of `llmkit ask`."""

    question: str | None = option(None, "What you want to know.", argument="QUESTION")
    index: str | None = option(None, "Index to answer from; the only one where no model is named either.")
    model: str | None = option(
        None,
        "Model that words the answer, or, without an index, answers by itself; else the documents are quoted.",
        command_line_only=leaves_this_machine,
    )
    reader: str | None = option(
        None, "Reader that marks the exact answer in the quotes: of the registry, a folder or the Hub."
    )
    k: int = option(5, "Passages to answer from.", ge=1, le=50)
    search: Literal["hybrid", "lexical", "dense"] = option("hybrid", "How passages are searched.")
    ranking: RankingOptions = RankingOptions()
    explain: bool = option(False, "Show why these passages: words, meaning, threshold, and what was left out.")
    temperature: float = option(0.0, "0: always the likeliest word; more: more variety.", ge=0)
    max_tokens: int = option(256, "Longest answer of a model.", ge=1)
    batch: str | None = option(None, "Answer every question of a file: JSONL with `question`, or one a line.")
    record: RecordOptions = RecordOptions()
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", keyed=False)


def inputs(cfg: AskConfig, registry: Registry) -> Inputs:
    """The index, the model, the file of questions: whichever are named, and the only index where neither is."""
    if (cfg.question is None) == (cfg.batch is None):
        raise UsageError("ask one question, or give a file of them", mend='llmkit ask "..." or llmkit ask --batch FILE')
    if cfg.question is not None and not cfg.question.strip():
        raise UsageError("the question is empty", mend='llmkit ask "How do I ...?"')
    found = models.find_model(cfg.model, registry) if cfg.model else Inputs()
    artifacts = dict(found.artifacts)
    if cfg.index:
        artifacts["index"] = registry.resolve(cfg.index, "index")
    elif not cfg.model:
        artifacts["index"] = registry.only("index")
    raw = dict(found.raw)
    if cfg.batch:
        path = Path(cfg.batch)
        if not path.is_file():
            raise NotFoundError(
                f"no such file: {cfg.batch}", mend="give a JSONL file, or a text file with a question a line"
            )
        raw["batch"] = Raw(cfg.batch, registry.input_digest([path]).digest, path)
    return Inputs(artifacts, raw).joined(_that_read(cfg, registry))


def _that_read(cfg: AskConfig, registry: Registry) -> Inputs:
    """The reader and the cross-encoder."""
    found = Inputs()
    for role, ref in ((READER, cfg.reader), (RERANKER, cfg.ranking.rerank)):
        if ref is None:
            continue
        if cfg.model and not cfg.index:
            raise UsageError(f"a {role} reads documents, and there is no index", where=ref, mend="name one by --index")
        found = found.joined(models.find_model(ref, registry, role=role))
    if cfg.reader and cfg.model:
        raise UsageError(
            "a reader marks the answer in quotes, and a model words it", mend="use --reader or --model, not both"
        )
    return found


def run(cfg: AskConfig, found: Inputs, ctx: Context) -> Outcome:
    """Answer, and keep the answers where a name was given."""
    questions = read_questions(found.raw["batch"].value) if cfg.batch else [Question(str(cfg.question))]
    with ExitStack() as stack:
        desk = _Desk(cfg, found, ctx, stack)
        if cfg.name is None:
            payload = {BATCH: answered(questions, desk.answer, ctx)} if cfg.batch else desk.answer(questions[0])
            return Outcome(payload=payload)
        answers, before = answered_in(ctx.work / "answers" / ANSWERS_FILE, questions, desk.answer, ctx)
    payload = {BATCH: answers} if cfg.batch else answers[0]
    return Outcome([Made("report", ctx.work / "answers")], payload=payload, resumed_from=before or None)


class _Desk:
    """All that a question is answered with, opened once."""

    def __init__(self, cfg: AskConfig, found: Inputs, ctx: Context, stack: ExitStack) -> None:
        from llmkit.generation.sampling import Sampling

        self.cfg = cfg
        self.knowledge: Knowledge | None = None
        if "index" in found.artifacts:
            self.knowledge = stack.enter_context(opened(found.artifacts["index"], ctx.registry))
        self.model = models.generator(found, device=cfg.device) if cfg.model else None
        self.sampling = Sampling(max_tokens=cfg.max_tokens, temperature=cfg.temperature, seed=cfg.seed)
        self.ranking = ranking_of(cfg.ranking, found, most=cfg.k, mode=cfg.search, device=cfg.device)
        self.writer: Writer | Marker | None = None
        if self.model is not None:
            from llmkit.stages.writing import writer_of

            self.writer = writer_of(self.model, self.sampling)
        elif cfg.reader:
            self.writer = marker = marker_of(found, device=cfg.device)
            if not marker.may_refuse:
                ctx.reporter.info(_why_it_may_not(marker), style="dim")
        self.recorder = Recorder("ask", cfg.record, found, ctx.registry, ctx.reporter)

    def answer(self, question: Question) -> dict[str, Any]:
        """One question's answer, recorded, as `--json` prints it."""
        started = time.perf_counter()
        asked = {"question": question.text, **question.given}
        if self.knowledge is None:
            payload = {**asked, **from_model(question.text, self.model, self.sampling)}  # type: ignore[arg-type]  # without an index there is a model
            said = None
        else:
            said = from_index(question.text, self.knowledge, writer=self.writer, ranking=self.ranking)
            payload = {**asked, **as_payload(said, self.knowledge)}
        seconds = time.perf_counter() - started
        if self.cfg.explain and said is not None and self.knowledge is not None:
            payload["explanation"] = explanation_of(said, self.knowledge, self.cfg.search)
        return {**payload, "trace": self.recorder.record(payload, said, seconds)}


def _why_it_may_not(marker: Marker) -> str:
    from llmkit.answering.quoting import REFUSES

    if marker.threshold is None:
        why = "it was tuned on questions that all have answers"
    elif marker.auroc is None:
        why = "how well it tells questions without an answer was not measured"
    else:
        why = f"it tells questions without an answer with an AUROC of {marker.auroc:.2f}, and {REFUSES} is needed"
    return f"the reader marks answers but does not refuse: {why}"


STAGE = Stage(
    name="ask",
    version=2,
    kind="report",
    config=AskConfig,
    inputs=inputs,
    run=run,
    default_name=lambda cfg, found: None,
    show=show,
    headline=headline,
    resumable=True,
)
