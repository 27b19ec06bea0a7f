"""The endpoint against what real servers send: each fixture has the shape of one server's reply, in its own words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import RunError, UnavailableError
from llmkit.generation import wire
from llmkit.generation.endpoint import ONLY_THOUGHT
from llmkit.generation.sampling import Sampling, TooLongError

from .test_endpoint import answer, delta, events, failure, model, server  # noqa: F401  # the fixture

HI = [{"role": "user", "content": "hi"}]


def piece(reason=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


VLLM = events(
    piece(role="assistant", content=""),
    piece(content="Hel"),
    piece(content="lo"),
    piece(content="", reason="stop"),
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}},
)
LLAMA_CPP = events(piece(role="assistant", content=None), piece(content="Hel"), piece(content="lo"), piece("stop"))
OLLAMA = events(
    piece(role="assistant", content="Hel"),
    piece(role="assistant", content="lo"),
    piece("stop", role="assistant", content=""),
)
NO_DONE = events(piece(content="Hello"), piece("stop"), done=False)
NO_REASON = events(piece(content="Hello"))
NO_DELTA = events({"choices": [{"index": 0, "delta": None}]}, piece(content="Hello"), {"choices": None}, piece("stop"))
PARTS = events(
    piece(content=[{"type": "thinking", "thinking": []}]),
    piece(content=[{"type": "text", "text": "Hello"}]),
    piece("stop"),
)
THOUGHT = events(piece(reasoning_content="Hm. "), piece(reasoning="Well."), piece(content="Hello"), piece("stop"))


@pytest.mark.parametrize("reply", [VLLM, LLAMA_CPP, OLLAMA, NO_DONE, NO_REASON, NO_DELTA, PARTS, THOUGHT])
def test_a_stream_is_read_however_the_server_puts_it(server, reply):  # noqa: F811  # the fixture
    server.replies = [reply]
    stream = model(server)[0].stream(HI)
    assert "".join(stream) == "Hello"
    assert (stream.result.text, stream.result.finish_reason, stream.result.notes) == ("Hello", "stop", ())


def test_a_server_that_streams_nothing_is_read_at_once(server):  # noqa: F811
    server.replies = [answer("Hello", "length")]
    stream = model(server)[0].stream(HI)
    assert list(stream) == ["Hello"] and stream.result.finish_reason == "length"


@pytest.mark.parametrize(
    "reply",
    [
        events(piece(reasoning_content="I wonder"), piece("length")),
        (
            200,
            {"content-type": "application/json"},
            json.dumps(
                {
                    "choices": [
                        {"message": {"content": None, "reasoning_content": "I wonder"}, "finish_reason": "length"}
                    ]
                }
            ).encode(),
        ),
    ],
)
def test_a_model_that_only_thought_says_so(server, reply):  # noqa: F811
    server.replies = [reply]
    result = model(server)[0].stream(HI).result
    assert (result.text, result.finish_reason, result.notes) == ("", "length", (ONLY_THOUGHT,))


def test_what_breaks_off_without_any_end_is_an_error(server):  # noqa: F811
    server.replies = [events(piece(content="Hel"), done=False)]
    stream = model(server)[0].stream(HI)
    assert next(stream) == "Hel"
    with pytest.raises(RunError, match="ends without an end"):
        next(stream)


def test_an_error_in_the_middle_of_a_stream(server):  # noqa: F811
    vllm = {"object": "error", "message": "CUDA out of memory", "code": 500}
    server.replies = [events(piece(content="Hel"), vllm)]
    with pytest.raises(RunError, match="CUDA out of memory"):
        _ = model(server)[0].stream(HI).result


@pytest.mark.parametrize(
    ("body", "limit", "asked"),
    [
        (
            {
                "error": {
                    "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in "
                    "9001 tokens. Please reduce the length of the messages.",
                    "code": "context_length_exceeded",
                }
            },
            8192,
            9001,
        ),
        (
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 "
                "tokens (4744 in the messages, 256 in the completion).",
                "code": 400,
            },
            4096,
            4744,
        ),
        (
            {
                "error": {
                    "message": "This model's maximum context length is 2048 tokens. However, you requested 256 output "
                    "tokens and your prompt contains at least 1793 input tokens.",
                    "type": "BadRequestError",
                    "code": 400,
                }
            },
            2048,
            1793,
        ),
        (
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 5012,
                    "n_ctx": 4096,
                }
            },
            4096,
            5012,
        ),
        (
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 "
                "`inputs` tokens and 256 `max_new_tokens`"
            },
            4096,
            5000,
        ),
        (
            {
                "error": {
                    "type": "invalid_request_error",
                    "message": "prompt is too long: 210,000 tokens > 200,000 maximum",
                }
            },
            200000,
            210000,
        ),
    ],
)
def test_a_prompt_that_is_too_long_is_told_apart_with_its_numbers(server, body, limit, asked):  # noqa: F811
    server.replies = [(400, {}, json.dumps(body).encode())]
    with pytest.raises(TooLongError) as caught:
        model(server)[0].generate("hi", Sampling(max_tokens=256))
    assert (caught.value.limit, caught.value.room, caught.value.asked) == (limit, limit - 256, asked)
    assert caught.value.exit_code == 4 and caught.value.mend and len(server.requests) == 1


@pytest.mark.parametrize("message", ["unknown model", "context is a reserved word", "the maximum is 5"])
def test_other_refusals_are_not_about_length(message):
    assert wire.too_long({"error": {"message": message}}) is None


@pytest.mark.parametrize(
    ("refusal", "gone", "instead"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
            "max_tokens",
            "max_completion_tokens",
        ),
        ("Unsupported value: 'temperature' does not support 0 with this model.", "temperature", None),
        ("Unrecognized request argument supplied: stream_options", "stream_options", None),
    ],
)
def test_a_parameter_that_a_server_does_not_take_is_left_out(server, refusal, gone, instead):  # noqa: F811
    server.replies = [failure(400, refusal), VLLM]
    result = model(server)[0].stream(HI, Sampling(max_tokens=7)).result
    first, second = (body for _, _, body in server.requests)
    assert gone in first and gone not in second and result.text == "Hello"
    assert instead is None or second[instead] == 7
    assert result.notes == (("the server takes no temperature",) if gone == "temperature" else ())


def test_a_refusal_that_names_nothing_we_can_leave_out_is_final(server):  # noqa: F811
    server.replies = [failure(400, "messages: at most 3 images")]
    with pytest.raises(Exception, match="at most 3 images"):
        model(server)[0].generate("hi")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("row", "context"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"context_length": 8192}, 8192),
        ({"context_window": 131072}, 131072),
        ({"meta": {"n_ctx_train": 32768, "n_ctx": 2048}}, 2048),
        ({"meta": None}, None),
        ({}, None),
    ],
)
def test_how_much_a_model_reads_is_taken_from_the_list_of_models(server, row, context):  # noqa: F811
    server.models = {"data": [{"id": "other", "max_model_len": 7}, {"id": "llama3", **row}]}
    assert model(server)[0].context == context


def test_a_key_that_a_server_repeats_is_not_shown(server, monkeypatch):  # noqa: F811
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret")
    server.replies = [failure(400, "Incorrect API key provided: sk-verysecret.")]
    made = model(server)[0]
    with pytest.raises(Exception) as caught:
        made.generate("hi")
    assert "***" in str(caught.value) and "verysecret" not in f"{caught.value!r}{made!r}"
    server.replies = [failure(401, "Incorrect API key provided: sk-verysecret.")]
    with pytest.raises(UnavailableError) as refused:
        made.generate("hi")
    assert "verysecret" not in str(refused.value) + str(refused.value.mend)


def test_images_go_with_the_last_question(server):  # noqa: F811
    server.replies = [answer()]
    made = model(server, images=("data:image/png;base64,AA==", "data:image/jpeg;base64,BB=="))[0]
    made.generate([{"role": "system", "content": "s"}, *HI, {"role": "assistant", "content": "a"}, *HI])
    sent = server.requests[0][2]["messages"]
    assert [type(message["content"]) for message in sent] == [str, str, str, list]
    assert sent[3]["content"] == [
        {"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,BB=="}},
    ]


@given(st.text(max_size=200), st.text(max_size=50))
def test_the_estimate_grows_with_the_text(text, more):
    def count(content):
        return wire.estimated_tokens([{"role": "user", "content": content}])

    assert 0 < count("") <= count(text) and count(text) - 1 <= count(text + " " + more)


def test_the_estimate_is_not_below_the_count_of_a_small_old_vocabulary():
    from pathlib import Path

    folder = Path(__file__).parents[3] / "shared/data"
    if not (folder / "gpt2_tokenizer/vocab.json").is_file():
        pytest.skip("GPT-2's vocabulary and the texts are not in ../shared/data")
    from tokenizers.implementations import ByteLevelBPETokenizer

    gpt2 = ByteLevelBPETokenizer(*(str(folder / "gpt2_tokenizer" / name) for name in ("vocab.json", "merges.txt")))
    japanese = json.loads((folder / "jaquad/jaquad_dev_0000.json").read_text("utf-8"))["data"]
    texts = [
        (folder / "wikitext2/valid.txt").read_text("utf-8")[:60_000],
        (folder / "gutenberg/1342-0.txt").read_text("utf-8")[:60_000],
        "".join(paragraph["context"] for article in japanese for paragraph in article["paragraphs"])[:30_000],
        Path(wire.__file__).read_text("utf-8"),
    ]
    for text in texts:
        for start in range(0, len(text), 1500):
            part = text[start : start + 1500]
            assert wire.estimated_tokens([{"role": "user", "content": part}]) >= len(gpt2.encode(part).ids)
