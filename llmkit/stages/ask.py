"""`llmkit ask`: an answer with quotes that were looked up in their source, or an honest "not in these documents"."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import option
from llmkit.config.trust import leaves_this_machine
from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.reporting.blocks import Block, Line, Quote
from llmkit.stages import models
from llmkit.stages.answers import from_index, from_model, outdated, reachable
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage, StageConfig
from llmkit.stages.knowledge import Knowledge, opened
from llmkit.stages.result import BATCH

if TYPE_CHECKING:
    from llmkit.registry.store import Registry

EXTRACTED = frozenset({".pdf", ".html", ".htm", ".xhtml", ".docx"})
"""Files whose text is not what an editor shows: a quote of them has a page or nothing, but no line."""
NEAREST = 3
"""Passages named where nothing answers."""


class AskConfig(StageConfig):
    """Options of `llmkit ask`."""

    question: str | None = option(None, "What you want to know.", argument="QUESTION")
    index: str | None = option(None, "Index to answer from; the only one where no model is named either.")
    model: str | None = option(
        None,
        "Model that words the answer, or, without an index, answers by itself; else the documents are quoted.",
        command_line_only=leaves_this_machine,
    )
    k: int = option(5, "Passages to answer from.", ge=1, le=50)
    search: Literal["hybrid", "lexical", "dense"] = option("hybrid", "How passages are searched.")
    temperature: float = option(0.0, "0: always the likeliest word; more: more variety.", ge=0)
    max_tokens: int = option(256, "Longest answer of a model.", ge=1)
    batch: str | None = option(None, "Answer every question of a file: JSONL with `question`, or one a line.")
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
    return Inputs(artifacts, raw)


def run(cfg: AskConfig, found: Inputs, ctx: Context) -> Outcome:
    """Answer, and keep the answers where a name was given."""
    questions = _questions(found.raw["batch"].value) if cfg.batch else [str(cfg.question)]
    with ExitStack() as stack:
        knowledge = (
            stack.enter_context(opened(found.artifacts["index"], ctx.registry)) if "index" in found.artifacts else None
        )
        model = models.generator(found, device=cfg.device) if cfg.model else None
        if len(questions) == 1 and not cfg.batch:
            payload: dict[str, Any] = _answer(cfg, questions[0], knowledge, model)
        else:
            with ctx.reporter.progress("answering", len(questions), unit="questions") as bar:
                answers = []
                for question in questions:
                    answers.append(_answer(cfg, question, knowledge, model))
                    bar.advance()
            payload = {BATCH: answers}
    if cfg.name is None:
        return Outcome(payload=payload)
    folder = ctx.work / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for answer in payload.get(BATCH, [payload]):
            file.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return Outcome([Made("report", folder)], payload=payload)


def _answer(cfg: AskConfig, question: str, knowledge: Knowledge | None, model: Any) -> dict[str, Any]:
    from llmkit.generation.sampling import Sampling

    sampling = Sampling(max_tokens=cfg.max_tokens, temperature=cfg.temperature, seed=cfg.seed)
    if knowledge is None:
        return {"question": question, **from_model(question, model, sampling)}
    answer = from_index(question, knowledge, model=model, sampling=sampling, most=cfg.k, mode=cfg.search).to_json()
    notes = outdated(knowledge, answer["retrieved"]) if answer["abstained"] else []
    for place in (*answer["citations"], *answer["retrieved"]):
        place["source"] = reachable(place["source"])
    for quote in answer["citations"]:
        if Path(quote["source"]).suffix.lower() in EXTRACTED:
            quote["line"] = None  # a line of the extracted text is none of the file's
    return {"question": question, **answer, "notes": notes}


def _questions(path: Path) -> list[str]:
    """The questions of a file, in order.

    Raises:
        DataError: a line is no question, or there is none.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if path.suffix in (".jsonl", ".ndjson"):
            try:
                row = json.loads(line)
                question = row["question"] if isinstance(row, dict) else row
            except (ValueError, KeyError):
                question = None
            if not isinstance(question, str) or not question.strip():
                raise DataError("no question in this line", where=f"{path}:{number}", mend='write {"question": "..."}')
            found.append(question)
        else:
            found.append(line.strip())
    if not found:
        raise DataError("the file has no questions", where=str(path), mend="write one a line")
    return found


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The answer with its quotes, each at a place that can be opened."""
    answers = payload.get(BATCH) or [payload]
    return [block for answer in answers for block in _shown(answer)]


def _shown(answer: Mapping[str, Any]) -> Sequence[Block]:
    blocks: list[Block] = [Line(""), Line(answer["question"], "heading")]
    if answer["abstained"]:
        blocks.append(Line(answer["answer"], "bad"))
        blocks.append(Line("The nearest passages, which do not answer it:", "dim"))
        nearest = dict.fromkeys(place["source"] for place in answer["retrieved"])
        blocks += [Line(f"  {source}", "dim") for source in list(nearest)[:NEAREST]]
        return [*blocks, *(Line(note, "bad") for note in answer.get("notes", ()))]
    quotes = answer["citations"]
    if not quotes or not all(quote["quote"] in answer["answer"] for quote in quotes):
        blocks.append(Quote(answer["answer"]))
    for number, quote in enumerate(quotes, start=1):
        place = f"{quote['source']}:{quote['line']}" if quote["line"] else quote["source"]
        page = f", page {quote['page']}" if quote["page"] else ""
        stale = "  (the file has changed since it was indexed)" if quote["stale"] else ""
        blocks.append(Quote(quote["quote"], f"[{number}] {place}{page}{stale}", link=_link(quote["source"])))
    blocks += [Line(f"not supported by any passage: {claim}", "bad") for claim in answer["unsupported"]]
    blocks += [Line(note, "dim") for note in answer.get("notes", ())]
    return blocks


def _link(source: str) -> str:
    path = Path(source)
    return path.resolve().as_uri() if path.exists() else ""


def headline(payload: Mapping[str, Any]) -> str:
    """`3 quotes, hashlib.py:206`, or that it said nothing."""
    if BATCH in payload:
        said = sum(not answer["abstained"] for answer in payload[BATCH])
        return f"{said} of {len(payload[BATCH])} answered"
    if payload["abstained"]:
        return "not in these documents"
    quotes = payload["citations"]
    if not quotes:
        return f"{len(payload['answer'])} characters"
    first = quotes[0]
    line = f":{first['line']}" if first["line"] else ""
    return f"{len(quotes)} quote{'s' if len(quotes) > 1 else ''}, {Path(first['source']).name}{line}"


STAGE = Stage(
    name="ask",
    version=1,
    kind="report",
    config=AskConfig,
    inputs=inputs,
    run=run,
    default_name=lambda cfg, found: None,
    show=show,
    headline=headline,
)
