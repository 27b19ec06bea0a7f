"""`llmkit ask`: an answer with quotes that were looked up in their source, or an honest "not in these documents"."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from llmkit.config.base import option
from llmkit.config.sections import GenerationOptions, PresetOptions, RankingOptions, RecordOptions
from llmkit.config.trust import leaves_this_machine
from llmkit.errors import Interrupted, NotFoundError, UsageError
from llmkit.stages import models, presets, writing
from llmkit.stages.answer_view import headline, show
from llmkit.stages.answers import as_payload, explanation_of, from_index
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage, StageConfig
from llmkit.stages.chat import Conversation
from llmkit.stages.knowledge import Knowledge, opened
from llmkit.stages.question_log import Recorder
from llmkit.stages.questions import ANSWERS_FILE, Question, answered, answered_in, read_questions
from llmkit.stages.reading import READER, RERANKER, marker_of, ranking_of
from llmkit.stages.result import BATCH

if TYPE_CHECKING:
    from llmkit.answering.answer import Answer
    from llmkit.answering.fitting import Writer
    from llmkit.answering.quoting import Marker
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

SHORT = {"max_tokens": 64, "temperature": 0.0}
"""How a model fills in a question: a line, the likeliest."""


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
    where: str | None = option(None, "Only documents that fulfil this: 'lang=ja and path~manual/*'.")
    ranking: RankingOptions = RankingOptions()
    explain: bool = option(False, "Show why these passages: words, meaning, threshold, and what was left out.")
    writing: GenerationOptions = GenerationOptions()
    preset: PresetOptions = PresetOptions()
    chat: bool = option(False, "A conversation: follow-up questions are understood; lines from a pipe work too.")
    batch: str | None = option(None, "Answer every question of a file: JSONL with `question`, or one a line.")
    record: RecordOptions = RecordOptions()
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", keyed=False)


def inputs(cfg: AskConfig, registry: Registry) -> Inputs:
    """The index, the model, the file of questions: whichever are named, and the only index where neither is."""
    _check_asked(cfg)
    found = models.find_model(cfg.model, registry) if cfg.model else Inputs()
    writing.check_pictures(cfg.writing, found, model=cfg.model)
    text = presets.find_text(cfg.preset, cfg.question, registry)
    presets.check_needs(cfg.preset, model=cfg.model)
    artifacts = dict(found.artifacts)
    if cfg.index:
        artifacts["index"] = registry.resolve(cfg.index, "index")
    elif not cfg.model and not cfg.preset.task:
        artifacts["index"] = registry.only("index")
    if cfg.where is not None:
        _check_filter(cfg.where, artifacts)
    raw = {**found.raw, **text.raw}
    if cfg.question == presets.STDIN and not cfg.preset.task:
        raw["question"] = _typed()
    if cfg.batch:
        path = Path(cfg.batch)
        if not path.is_file():
            raise NotFoundError(
                f"no such file: {cfg.batch}", mend="give a JSONL file, or a text file with a question a line"
            )
        raw["batch"] = Raw(cfg.batch, registry.input_digest([path]).digest, path)
    return Inputs(artifacts, raw).joined(_that_read(cfg, registry))


def _check_asked(cfg: AskConfig) -> None:
    """Raise UsageError unless there is exactly one thing to do."""
    if cfg.chat and (cfg.batch or cfg.preset.task or cfg.name):
        other = "--batch" if cfg.batch else "--task" if cfg.preset.task else "--name"
        raise UsageError(
            f"a chat takes no {other}", where="--chat", mend=f"leave one of the two out: --chat or {other}"
        )
    if cfg.preset.task and (cfg.index or cfg.reader or cfg.batch):
        other = "--index" if cfg.index else "--reader" if cfg.reader else "--batch"
        raise UsageError(f"a task works on one text and takes no {other}", where="--task", mend=f"leave {other} out")
    if cfg.chat or cfg.preset.file:
        return
    if (cfg.question is None) == (cfg.batch is None):
        raise UsageError("ask one question, or give a file of them", mend='llmkit ask "..." or llmkit ask --batch FILE')
    if cfg.question is not None and not cfg.question.strip():
        raise UsageError("the question is empty", mend='llmkit ask "How do I ...?"')


def _typed() -> Raw:
    """The question from standard input."""
    from llmkit.registry.values import digest_of

    text = sys.stdin.read().strip()
    if not text:
        raise UsageError("standard input has no question", mend='echo "How do I ...?" | llmkit ask -')
    return Raw(presets.STDIN, digest_of(text), text)


def _check_filter(where: str, artifacts: Mapping[str, Artifact]) -> None:
    from llmkit.retrieval.where import parse

    if "index" not in artifacts:
        raise UsageError("a filter chooses documents, and there is no index", where="--where", mend="name one: --index")
    parse(where)


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
    typed = found.raw["question"].value if "question" in found.raw else cfg.question
    questions = read_questions(found.raw["batch"].value) if cfg.batch else [Question(str(typed))]
    with ExitStack() as stack:
        desk = _Desk(cfg, found, ctx, stack)
        if cfg.chat:
            talk = desk.conversation(ctx)
            talk.hold(ctx.reporter.line, typed)
            return Outcome(payload={BATCH: talk.answers})
        if cfg.name is None:
            payload = {BATCH: answered(questions, desk.answer, ctx)} if cfg.batch else desk.answer(questions[0])
            return Outcome(payload=payload)
        answers, before = answered_in(ctx.work / "answers" / ANSWERS_FILE, questions, desk.answer, ctx)
    payload = {BATCH: answers} if cfg.batch else answers[0]
    return Outcome([Made("report", ctx.work / "answers")], payload=payload, resumed_from=before or None)


class _Desk:
    """All that a question is answered with, opened once."""

    def __init__(self, cfg: AskConfig, found: Inputs, ctx: Context, stack: ExitStack) -> None:
        self.cfg, self.found, self.reporter = cfg, found, ctx.reporter
        self.knowledge: Knowledge | None = None
        if "index" in found.artifacts:
            self.knowledge = stack.enter_context(opened(found.artifacts["index"], ctx.registry, where=cfg.where))
        # Beside a bar, and where answers go to a file, nobody watches the words.
        self.listening = writing.nobody if cfg.batch or cfg.name else ctx.reporter.writing
        self.sampling = writing.sampling_of(cfg.writing, cfg.seed, **presets.sampling_defaults(cfg.preset))
        labels = cfg.model is not None and cfg.preset.task == "sentiment"
        self.classify = presets.classifier_of(found, device=cfg.device) if labels else None
        self.model = (
            writing.model_of(cfg.writing, found, device=cfg.device) if cfg.model and not self.classify else None
        )
        self.ranking = ranking_of(cfg.ranking, found, most=cfg.k, mode=cfg.search, device=cfg.device)
        self.writer: Writer | Marker | None = None
        if self.model is not None:
            self.writer = writing.writer_of(self.model, self.sampling, self.listening)
        elif cfg.reader:
            self.writer = marker = marker_of(found, device=cfg.device)
            if not marker.may_refuse:
                ctx.reporter.info(_why_it_may_not(marker), style="dim")
        self.recorder = Recorder("ask", cfg.record, found, ctx.registry, ctx.reporter)

    def answer(self, question: Question) -> dict[str, Any]:
        """One question's answer, recorded, as `--json` prints it."""
        return self._answered(question, question.text)

    def conversation(self, ctx: Context) -> Conversation:
        """A conversation with what is on this desk."""
        session = uuid4().hex[:12]
        fills = None
        if self.model is not None and self.knowledge is not None:
            model, sampling = self.model, writing.sampling_of(self.cfg.writing.model_copy(update=SHORT), self.cfg.seed)
            fills = lambda messages: writing.write(model, messages, sampling).text  # noqa: E731  # a closure of two names
        return Conversation(
            lambda asked, searched, turns: self._answered(Question(asked), searched, turns, session),
            ctx.reporter,
            rewrites=self.knowledge is not None,
            ask=fills,
        )

    def _answered(
        self, question: Question, searched: str, turns: Sequence[Mapping[str, str]] = (), session: str | None = None
    ) -> dict[str, Any]:
        started = time.perf_counter()
        payload: dict[str, Any] = {"question": question.text, **question.given}
        said: Answer | None = None
        if self.cfg.preset.task:
            hand = presets.Hand(self.model, self.sampling, self.listening, self.reporter, self.classify)
            payload |= presets.perform(self.cfg.preset, presets.material_of(self.found, self.cfg.question), hand)
        elif self.knowledge is not None:
            said = from_index(searched, self.knowledge, writer=self.writer, history=turns, ranking=self.ranking)
            payload |= as_payload(said, self.knowledge)
        elif self.model is not None:
            payload |= writing.alone(question.text, self.model, self.sampling, history=turns, listening=self.listening)
        seconds = time.perf_counter() - started
        if self.cfg.explain and said is not None and self.knowledge is not None:
            payload["explanation"] = explanation_of(said, self.knowledge, self.cfg.search)
        return {**payload, "trace": self.recorder.record(payload, said, seconds, session=session)}


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
    gate=lambda payload: Interrupted("interrupted in the middle of an answer") if payload.get("interrupted") else None,
    resumable=True,
)
