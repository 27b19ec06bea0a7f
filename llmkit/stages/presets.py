"""`ask --task`: what is done on a text instead of answering a question, with a model or, where it can be, without."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.stages import models
from llmkit.stages.base import Inputs, Raw
from llmkit.stages.writing import Listening, how_it_reads, nobody, room_of, worded, write

if TYPE_CHECKING:
    from llmkit.config.sections import PresetOptions
    from llmkit.generation.presets import Preset
    from llmkit.generation.sampling import Generation, Sampling
    from llmkit.models.classify import Classify
    from llmkit.registry.store import Registry
    from llmkit.reporting.reporter import Reporter
    from llmkit.stages.writing import Writes
    from llmkit.text.document import Document

TEXT = "text"
"""Role of the text among a command's inputs."""
STDIN = "-"
SHOWN = 60
"""Code points of a text that stand for it."""
MOST_ROUNDS = 4
"""How often the summaries of parts are summarised again."""


@dataclass(frozen=True)
class Material:
    """The text that a task is done on.

    Attributes:
        name: what stands for it: a file, or its own beginning.
        wish: what the user wants besides, where the text is a file's.
        document: the file's, where there is one.
    """

    text: str
    name: str
    wish: str = ""
    document: Document | None = None


@dataclass(frozen=True)
class Hand:
    """What a task is done with.

    Attributes:
        model: None where the task is done without one.
        classify: a classifier, for sentiment.
    """

    model: Writes | None
    sampling: Sampling
    listening: Listening
    reporter: Reporter
    classify: Classify | None = None


def find_text(options: PresetOptions, question: str | None, registry: Registry) -> Inputs:
    """The text of a task, from the argument, a file or standard input; role `text`.

    Raises:
        UsageError: there is none, or a flag that only a task has is given without one.
        NotFoundError: the file is not there.
    """
    if options.task is None:
        for flag, value in (("--file", options.file), ("--to", options.to)):
            if value:
                raise UsageError("it belongs to a --task", where=flag, mend="add --task summarize, for example")
        return Inputs()
    if options.task == "translate" and not options.to:
        raise UsageError("translate to which language?", where="--task translate", mend="add --to ja, for example")
    if options.task != "translate" and options.to:
        raise UsageError("a language is what --task translate takes", where="--to", mend="leave it out")
    source = options.file or (STDIN if question == STDIN else None)
    if source == STDIN:
        from llmkit.registry.values import digest_of

        text = sys.stdin.read()
        return Inputs(raw={TEXT: Raw(STDIN, digest_of(text), text)})
    if source is not None:
        path = Path(source)
        if not path.is_file():
            raise NotFoundError(f"no such file: {source}", mend="give a file, or - for standard input")
        return Inputs(raw={TEXT: Raw(source, registry.input_digest([path]).digest, path)})
    if not (question or "").strip():
        raise UsageError(
            f"--task {options.task} needs a text", mend='give it as the argument, by --file FILE, or as "-" from a pipe'
        )
    return Inputs()


def check_needs(options: PresetOptions, *, model: str | None) -> None:
    """Raise UsageError where a task needs a model and none is named."""
    from llmkit.generation.presets import PRESETS

    if options.task is None or model:
        return
    needs = PRESETS[options.task].needs
    if needs == "classifier":
        raise UsageError(
            "--task sentiment needs a model",
            mend="name one by --model: a classifier made by `finetune-lora --task classify`, or one that answers",
        )
    if needs == "model":
        raise UsageError(
            f"--task {options.task} needs a model that writes",
            mend="name one by --model: of the registry, a folder, the Hub, or openai:http://HOST:PORT/v1#NAME",
        )


def material_of(found: Inputs, question: str | None) -> Material:
    """The text that was found.

    Raises:
        DataError: the file cannot be read, or holds no text.
    """
    raw = found.raw.get(TEXT)
    wish = question or ""
    if raw is None:
        return Material(wish, _short(wish))
    wish = "" if wish == STDIN else wish
    if isinstance(raw.value, str):
        if not raw.value.strip():
            raise DataError("standard input has no text", mend="pipe a text into it")
        return Material(raw.value, _short(raw.value), wish)
    document = _read(raw.value)
    return Material(document.text, raw.ref, wish, document)


def classifier_of(found: Inputs, *, device: str) -> Classify | None:
    """The model as a classifier, if it is one."""
    if models.is_endpoint(found):
        return None
    from llmkit.models.classify import is_classifier, open_classifier
    from llmkit.train.precision import resolve_device

    folder, adapter = models.folders_of(found)
    if not is_classifier(folder, adapter):
        return None
    return open_classifier(folder, adapter=adapter, device=str(resolve_device(device)))


def perform(options: PresetOptions, material: Material, hand: Hand) -> dict[str, Any]:
    """The task's result, in the shape of an answer with `task` beside it."""
    from llmkit.generation.presets import PRESETS, SENTIMENTS

    assert options.task is not None  # noqa: S101  # only called for a task
    preset = PRESETS[options.task]
    started = time.perf_counter()
    head = {"question": material.name, "task": options.task}
    if hand.classify is not None and preset.needs == "classifier":
        scores = hand.classify(material.text)
        label = next(iter(scores))
        rounded = {name: round(score, 4) for name, score in scores.items()}
        return {**head, **_plain(f"{label} ({scores[label]:.0%})", started), "label": label, "scores": rounded}
    if hand.model is None:
        return {**head, **_extracted(material, started)}
    done, notes = _by_model(preset, material, hand, options.to or "")
    found = _labelled(preset, done.text)
    if found == {"label": None}:
        notes = [*notes, f"the reply names none of {', '.join(SENTIMENTS)}"]
    return {**head, **worded(done, [*notes, *done.notes], time.perf_counter() - started), **found}


def _labelled(preset: Preset, said: str) -> dict[str, Any]:
    if preset.needs != "classifier":
        return {}
    from llmkit.generation.presets import sentiment_of

    label = sentiment_of(said)
    return {"label": label}


def _plain(text: str, started: float) -> dict[str, Any]:
    from llmkit.generation.sampling import Generation

    return worded(Generation(text, 0, "stop"), (), time.perf_counter() - started)


def _extracted(material: Material, started: float) -> dict[str, Any]:
    """The text's own most central sentences; of a file, each with its place."""
    from llmkit.generation.lexrank import summary_spans
    from llmkit.retrieval.lexical import has_unspaced

    text = material.text
    spans = summary_spans(text, _subjects)
    if not spans:
        raise DataError("the text has no sentences to choose from", mend="give more text, or name a --model")
    between = "" if has_unspaced(text[slice(*spans[0])]) else " "
    payload = _plain(between.join(" ".join(text[slice(*span)].split()) for span in spans), started)
    payload["notes"] = [f"{len(spans)} sentences of the text itself, word for word; a --model would write its own"]
    if material.document is not None:
        payload["citations"] = [_place(material.document, material.name, *span) for span in spans]
    return payload


def _subjects(texts: Sequence[str]) -> list[list[str]]:
    """The terms of each text that carry a subject: neither function words nor hiragana."""
    from llmkit.retrieval.lexical import FUNCTION_WORDS, Stemmer, is_hiragana

    stemmer = Stemmer()
    empty = set(stemmer.terms([" ".join(FUNCTION_WORDS)])[0])
    return [[term for term in found if term not in empty and not is_hiragana(term)] for found in stemmer.terms(texts)]


def _place(document: Document, name: str, start: int, end: int) -> dict[str, Any]:
    from llmkit.answering.answer import Citation
    from llmkit.stages.answers import EXTRACTED

    quote, page = document.text[start:end], document.page_at(start)
    shown = Path(name).suffix.lower() not in EXTRACTED and not page
    citation = Citation(name, quote, start, end, document.lines.line(start), page, 1.0, stale=False)
    from dataclasses import asdict

    return {**asdict(citation), "line": citation.line if shown else None}


def _by_model(preset: Preset, material: Material, hand: Hand, to: str) -> tuple[Generation, list[str]]:
    """The model's result, of a long text in parts, and what a user must know of how it came about."""
    from llmkit.generation.presets import preset_messages, preset_text

    model = hand.model
    assert model is not None  # noqa: S101  # `perform` has looked
    writes_on = preset.raw or getattr(model, "objective", "") == "seq2seq"

    def prompt(text: str) -> Any:
        build = preset_text if writes_on else preset_messages
        return build(preset, text, wish=material.wish, to=to)

    def ask(text: str, listening: Listening = hand.listening) -> Generation:
        return write(model, prompt(text), hand.sampling, listening)

    def fits(text: str, room: int) -> bool:
        made = prompt(text)
        messages = [{"role": "user", "content": made}] if isinstance(made, str) else made
        return model.prompt_tokens(messages) <= room

    notes = [] if writes_on else how_it_reads(model, [preset])
    room = room_of(model, hand.sampling)
    if preset.parts == "none" or room is None or fits(material.text, room):
        return ask(material.text), notes
    if not fits("", room):
        raise DataError(
            f"the model reads {model.context:,} tokens, and the task alone has more",
            mend="use a model that reads more, or a smaller --max-tokens",
        )
    return _in_parts(preset, material.text, hand, ask, lambda text: fits(text, room), notes)


def _in_parts(
    preset: Preset,
    text: str,
    hand: Hand,
    ask: Callable[..., Generation],
    fits: Callable[[str], bool],
    notes: list[str],
) -> tuple[Generation, list[str]]:
    from dataclasses import replace

    reads = f"the model reads {hand.model.context:,} tokens" if hand.model and hand.model.context else "it is long"
    if preset.parts == "first":
        first = next(pieces(text, fits))
        share = len(first) / len(text)
        return ask(first), [*notes, f"the first {share:.0%} of the text was read: {reads}"]
    for round_number in range(MOST_ROUNDS):
        parts = list(pieces(text, fits))
        said: list[Generation] = []
        with hand.reporter.progress("in parts", len(parts), unit="parts") as bar:
            for part in parts:
                said.append(ask(part, nobody))
                bar.advance()
                if said[-1].finish_reason == "interrupted":
                    break
        notes = [*notes, f"done in {len(parts)} parts: {reads}"] if round_number == 0 else notes
        joined = "\n\n".join(each.text.strip() for each in said)
        last = replace(said[-1], text=joined, notes=tuple(dict.fromkeys(note for each in said for note in each.notes)))
        shrinks = len(joined) < len(text) * 0.8
        if preset.parts == "join" or last.finish_reason == "interrupted" or not shrinks or not joined.strip():
            return last, notes
        if fits(joined):
            return ask(joined), notes
        text = joined
    return last, notes


def pieces(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """The text in order, in pieces that fit, cut between sentences where it can be."""
    from llmkit.text.sentences import sentence_spans

    ends = [span.end for span in sentence_spans(text)] or [len(text)]
    start = 0
    while text[start:].strip():
        ahead = [end for end in ends if end > start] or [len(text)]
        # Twice as far each time, then back by halves: a text is counted a few times only, not once for each sentence.
        most, step = 0, 1
        while most + step <= len(ahead) and fits(text[start : ahead[most + step - 1]]):
            most, step = most + step, step * 2
        while step:
            if most + step <= len(ahead) and fits(text[start : ahead[most + step - 1]]):
                most += step
            step //= 2
        end = ahead[most - 1] if most else _within(text, start, ahead[0], fits)
        yield text[start:end]
        start = end


def _within(text: str, start: int, end: int, fits: Callable[[str], bool]) -> int:
    """How far of a sentence that does not fit as a whole; a character at least, so that it goes on."""
    while end - start > 1 and not fits(text[start:end]):
        end = start + (end - start) // 2
    return end


def _read(path: Path) -> Document:
    """All that a file holds, as one document."""
    from dataclasses import replace

    from llmkit.data.drops import Drop
    from llmkit.data.readers.table import read_file

    documents: list[Document] = []
    drops: list[Drop] = []
    for item in read_file(path):
        if isinstance(item, Drop):
            drops.append(item)
        else:
            documents.append(item)
    if not documents:
        why = drops[0].detail or drops[0].reason if drops else "it holds no text"
        raise DataError(f"the file cannot be read: {why}", where=str(path), mend="give a file that holds text")
    if len(documents) == 1:
        return documents[0]
    return replace(documents[0], text="\n\n".join(document.text for document in documents), pages=())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def sampling_defaults(options: PresetOptions) -> Mapping[str, Any]:
    """The task's own temperature and length, for `writing.sampling_of`."""
    from llmkit.generation.presets import PRESETS

    if options.task is None:
        return {}
    preset = PRESETS[options.task]
    return {"temperature": preset.temperature, "most": preset.max_tokens}
