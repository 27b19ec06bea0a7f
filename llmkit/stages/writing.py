"""Models that word answers, as the commands that ask use them: streamed, stopped by Ctrl-C, within their context."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import UsageError
from llmkit.stages import models

if TYPE_CHECKING:
    from llmkit.answering.fitting import Writer
    from llmkit.config.sections import GenerationOptions
    from llmkit.generation.endpoint import EndpointModel
    from llmkit.generation.local import LocalModel
    from llmkit.generation.sampling import Generation, Sampling
    from llmkit.stages.base import Inputs

    Writes = LocalModel | EndpointModel
    Prompt = str | Sequence[Mapping[str, str]]

Heard = Callable[[str], None]
"""Takes the pieces of a text as they are made."""
Listening = Callable[[], AbstractContextManager[Heard]]
"""Opens whatever hears a text (`Reporter.writing`)."""

MAX_TOKENS = 256


def nobody() -> AbstractContextManager[Heard]:
    """A listener that is not there."""
    return nullcontext(lambda piece: None)


def check_pictures(options: GenerationOptions, found: Inputs, *, model: str | None) -> None:
    """Raise where pictures are given to what cannot see any, or are none; before anything is loaded."""
    if not options.image:
        return
    if not model or not models.is_endpoint(found):
        raise UsageError(
            "pictures are for models behind an endpoint; a local model reads text only",
            where="--image",
            mend="name a server whose model sees: --model openai:http://HOST:PORT/v1#NAME",
        )
    from llmkit.generation.images import data_url

    for picture in options.image:
        data_url(Path(picture))


def model_of(options: GenerationOptions, found: Inputs, *, device: str) -> Writes:
    """The model that was named, with what the options say of an endpoint.

    Raises:
        NotFoundError, DataError: a picture is not there, or is none.
        UnavailableError: the device is not there.
    """
    from llmkit.generation.endpoint import EndpointModel
    from llmkit.generation.images import data_url

    model = models.generator(found, device=device)
    if not isinstance(model, EndpointModel):
        return model
    pictures = tuple(data_url(Path(picture)) for picture in options.image)
    return replace(model, timeout=options.timeout, retries=options.retry, images=pictures)


def sampling_of(options: GenerationOptions, seed: int, *, temperature: float = 0.0, most: int = MAX_TOKENS) -> Sampling:
    """What the options say, else the given defaults."""
    from llmkit.generation.sampling import Sampling

    heat = temperature if options.temperature is None else options.temperature
    return Sampling(max_tokens=options.max_tokens or most, temperature=heat, seed=seed)


def writer_of(model: Writes, sampling: Sampling, listening: Listening = nobody) -> Writer:
    """The model as answers need it: with its room for a prompt, and its words handed on as they are made."""
    from llmkit.answering.fitting import Writer

    room = room_of(model, sampling)
    return Writer(
        lambda messages: write(model, messages, sampling, listening),
        tokens=model.prompt_tokens,
        room=room,
        context=model.context if room is not None else None,
    )


def room_of(model: Writes, sampling: Sampling) -> int | None:
    """Tokens that a prompt may have, so that the model can answer; None where nobody says."""
    from llmkit.generation.local import LocalModel, room

    if isinstance(model, LocalModel):
        return room(model.context, sampling.max_tokens, shared=model.objective == "causal")
    return model.context - min(sampling.max_tokens, model.context // 2) if model.context else None


def write(model: Writes, prompt: Prompt, sampling: Sampling, listening: Listening = nobody) -> Generation:
    """The model's text. Ctrl-C in the middle ends it with what was said until then.

    Raises:
        TooLongError: a server says that it cannot read so much.
        UnavailableError: an endpoint does not answer.
    """
    from llmkit.generation.sampling import Generation

    stream = model.stream(prompt, sampling)
    said: list[str] = []
    try:
        with listening() as heard:
            for piece in stream:
                said.append(piece)
                heard(piece)
        done = stream.result
    except KeyboardInterrupt:
        stream.close()
        done = Generation("".join(said), 0, "interrupted")
    return _explained(done, sampling)


def alone(
    question: str,
    model: Writes,
    sampling: Sampling,
    *,
    history: Sequence[Mapping[str, str]] = (),
    listening: Listening = nobody,
) -> dict[str, Any]:
    """A model's own words, without any document, in the shape of an answer.

    Args:
        history: earlier turns; the oldest are left out where the model reads too little.
    """
    from llmkit.answering.fitting import turns_that_fit

    started = time.perf_counter()
    turns, left_out = turns_that_fit(writer_of(model, sampling), history, question)
    done = write(model, [*turns, {"role": "user", "content": question}], sampling, listening)
    notes = [*how_it_reads(model, turns), *left_out, *done.notes]
    return worded(done, notes, time.perf_counter() - started)


def how_it_reads(model: Writes, turns: Sequence[object] = ()) -> list[str]:
    """In words, that a model without a chat template does not answer but writes on."""
    from llmkit.generation.local import LocalModel

    if not isinstance(model, LocalModel) or model.tokenizer.chat_template:
        return []
    if model.objective == "seq2seq":
        return ["the model has no chat template: it reads the text as it is"]
    how = "it writes on after the conversation" if turns else "it goes on with your text"
    return [f"the model has no chat template: {how}"]


def worded(done: Generation, notes: Sequence[str], seconds: float) -> dict[str, Any]:
    """A model's words in the shape of an answer."""
    return {
        "answer": done.text,
        "abstained": False,
        "citations": [],
        "retrieved": [],
        "unsupported": [],
        "invented": [],
        "notes": list(notes),
        "interrupted": done.finish_reason == "interrupted",
        "timings": {"generate": round(seconds, 4)},
    }


def _explained(done: Generation, sampling: Sampling) -> Generation:
    """The generation without the model's thoughts, and with a note where it is not whole."""
    text = done.text.rpartition("</think>")[2].lstrip() if "</think>" in done.text else done.text
    notes = list(done.notes)
    if done.finish_reason == "length":
        notes.append(f"the answer was cut after {done.tokens or sampling.max_tokens:,} tokens: --max-tokens gives more")
    elif done.finish_reason == "filtered":
        notes.append("the server withheld a part of the answer")
    elif done.finish_reason == "interrupted":
        notes.append("interrupted: this is what was said until then")
    return replace(done, text=text, notes=tuple(notes))
