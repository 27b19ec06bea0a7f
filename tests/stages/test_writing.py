"""What commands make of a model's words: pieces as they come, Ctrl-C, thoughts, limits, and what is said of each."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from llmkit.config.sections import GenerationOptions
from llmkit.errors import DataError, UsageError
from llmkit.generation.sampling import Generation, Sampling, TextStream
from llmkit.registry.refs import EndpointRef
from llmkit.stages.base import Inputs, Raw
from llmkit.stages.writing import alone, check_pictures, model_of, room_of, sampling_of, write, writer_of


class Model:
    """Says its pieces; an exception among them is raised in its place."""

    objective = "causal"

    def __init__(self, *pieces: object, context: int | None = None, **ended: object) -> None:
        self.pieces, self.context = pieces, context
        self.ended = {"finish_reason": "stop", "tokens": 3, **ended}
        self.prompts: list[object] = []
        self.closed = False

    def stream(self, prompt: object, sampling: Sampling) -> TextStream:
        self.prompts.append(prompt)
        return TextStream(self._run())

    def _run(self) -> Generator[str, None, Generation]:
        try:
            for piece in self.pieces:
                if isinstance(piece, BaseException):
                    raise piece
                yield str(piece)
        finally:
            self.closed = True
        return Generation("".join(map(str, self.pieces)), **self.ended)

    def prompt_tokens(self, messages: list[dict[str, str]]) -> int:
        return sum(len(message["content"].split()) for message in messages)


class Ear:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.open = False

    @contextmanager
    def __call__(self) -> Iterator[object]:
        self.open = True
        yield self.heard.append
        self.open = False


def test_pieces_are_heard_as_they_come() -> None:
    ear = Ear()
    done = write(Model("Hel", "lo"), "hi", Sampling(), ear)
    assert (done.text, ear.heard, ear.open, done.notes) == ("Hello", ["Hel", "lo"], False, ())


def test_ctrl_c_keeps_what_was_said_and_stops_the_model() -> None:
    model, ear = Model("Hel", "lo", KeyboardInterrupt()), Ear()
    done = write(model, "hi", Sampling(), ear)
    assert (done.text, done.finish_reason) == ("Hello", "interrupted")
    assert model.closed and "interrupted" in done.notes[0]
    assert write(Model(KeyboardInterrupt()), "hi", Sampling()).text == ""


@pytest.mark.parametrize(("reason", "said"), [("length", "cut after 3 tokens"), ("filtered", "withheld")])
def test_an_answer_that_is_not_whole_says_why(reason: str, said: str) -> None:
    (note,) = write(Model("Hello", finish_reason=reason), "hi", Sampling()).notes
    assert said in note


def test_thoughts_are_no_part_of_the_answer() -> None:
    assert write(Model("<think>Well.\n", "Hm.</think>\n\nYes."), "hi", Sampling()).text == "Yes."


def test_a_conversation_loses_its_oldest_turns_where_the_model_reads_too_little() -> None:
    history = [{"role": role, "content": f"{n} " * 10} for n in range(3) for role in ("user", "assistant")]
    model = Model("Yes.", context=60)
    payload = alone("Why?", model, Sampling(max_tokens=30), history=history)
    (prompt,) = model.prompts
    assert len(prompt) == 3 and prompt[-1]["content"] == "Why?"
    assert payload["notes"] == ["2 of 3 earlier turns left out: the model reads 60 tokens"]
    assert payload["answer"] == "Yes." and not payload["interrupted"]


def test_a_server_that_does_not_say_what_it_reads_gets_everything() -> None:
    model = Model("Yes.")
    assert room_of(model, Sampling()) is None and writer_of(model, Sampling()).room is None
    assert room_of(Model(context=1000), Sampling(max_tokens=256)) == 744
    assert room_of(Model(context=100), Sampling(max_tokens=256)) == 50


def test_options_come_before_defaults() -> None:
    assert sampling_of(GenerationOptions(), 3) == Sampling(256, 0.0, 1.0, 3)
    assert sampling_of(GenerationOptions(), 0, temperature=0.7, most=1024) == Sampling(1024, 0.7)
    assert sampling_of(GenerationOptions(temperature=0, max_tokens=5), 0, temperature=0.7, most=1024) == Sampling(5, 0)


ENDPOINT = Inputs(raw={"model": Raw("m", "d", EndpointRef("http://127.0.0.1:9/v1", "m"))})


def test_an_endpoint_gets_its_options_and_pictures(tmp_path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n....")
    options = GenerationOptions(timeout=7, retry=1, image=(str(picture),))
    check_pictures(options, ENDPOINT, model="m")
    model = model_of(options, ENDPOINT, device="cpu")
    assert (model.timeout, model.retries, len(model.images)) == (7, 1, 1)
    assert model.images[0].startswith("data:image/png;base64,")


def test_pictures_for_what_cannot_see_are_refused_before_anything_is_loaded(tmp_path) -> None:
    options = GenerationOptions(image=("x.png",))
    for found, model in ((Inputs(), None), (Inputs(raw={"model": Raw("m", "d", tmp_path)}), "./m")):
        with pytest.raises(UsageError, match="local model reads text only"):
            check_pictures(options, found, model=model)
    (tmp_path / "x.png").write_text("words")
    with pytest.raises(DataError, match="no picture"):
        check_pictures(GenerationOptions(image=(str(tmp_path / "x.png"),)), ENDPOINT, model="m")
