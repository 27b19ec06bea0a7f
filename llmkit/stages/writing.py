"""Models that word answers, as the commands that ask use them: streamed, stopped by Ctrl-C, within their context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmkit.answering.fitting import Writer
    from llmkit.generation.endpoint import EndpointModel
    from llmkit.generation.local import LocalModel
    from llmkit.generation.sampling import Generation, Sampling

    Writes = LocalModel | EndpointModel

Heard = Callable[[str], None]
"""Takes the pieces of a text as they are made."""


def writer_of(model: Writes, sampling: Sampling, heard: Heard | None = None) -> Writer:
    """The model as answers need it: with its room for a prompt, and its words handed on as they are made."""
    from llmkit.answering.fitting import Writer

    room = room_of(model, sampling)
    return Writer(
        lambda messages: write(model, messages, sampling, heard),
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


def write(
    model: Writes, prompt: str | Sequence[Mapping[str, str]], sampling: Sampling, heard: Heard | None = None
) -> Generation:
    """The model's text. Ctrl-C in the middle ends it with what was said until then.

    Raises:
        TooLongError: a server says that it cannot read so much.
        UnavailableError: an endpoint does not answer.
    """
    from llmkit.generation.sampling import Generation

    stream = model.stream(prompt, sampling)
    said: list[str] = []
    try:
        for piece in stream:
            said.append(piece)
            if heard is not None:
                heard(piece)
        done = stream.result
    except KeyboardInterrupt:
        stream.close()
        done = Generation("".join(said), 0, "interrupted")
    return _explained(done, sampling)


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
