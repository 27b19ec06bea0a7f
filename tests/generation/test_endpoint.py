"""A real HTTP server on this machine, from the standard library, that says what each test tells it to."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmkit.errors import DataError, NotFoundError, RunError, UnavailableError, UsageError
from llmkit.generation.endpoint import EndpointModel, probe
from llmkit.generation.sampling import Sampling


class Server:
    """Replies are (status, headers, body) in turn, the last one for ever; requests are kept."""

    def __init__(self):
        self.replies = []
        self.requests = []
        self.models = {"data": [{"id": "llama3"}, {"id": "qwen2.5"}]}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/v1/models" and server.models is not None:
                    self.reply(200, {}, json.dumps(server.models).encode())
                else:
                    self.reply(404, {}, b"nothing here")

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append((self.path, dict(self.headers), body))
                self.reply(*(server.replies.pop(0) if len(server.replies) > 1 else server.replies[0]))

            def reply(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "content-length" not in headers:
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def answer(text="Hello", reason="stop"):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return 200, {"content-type": "application/json"}, json.dumps({"choices": [choice], "usage": usage}).encode()


def failure(status, message="", **headers):
    return status, headers, json.dumps({"error": {"message": message}}).encode()


def events(*parts, done=True):
    lines = [f"data: {json.dumps(part, ensure_ascii=False)}\r\n\r\n" for part in parts]
    return 200, {"content-type": "text/event-stream"}, "".join([": hi\n\n", *lines, "data: [DONE]\n\n" * done]).encode()


def delta(text=None, reason=None):
    return {"choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}]}


def model(server, **options):
    pauses = []
    made = EndpointModel(server.url, "llama3", **{"sleep": pauses.append, "timeout": 10, **options})
    return made, pauses


def test_an_answer_comes_with_its_counts_and_its_reason(server):
    server.replies = [answer("Hello\u2028 日本", "length")]
    got = model(server)[0].generate("hi", Sampling(max_tokens=3, temperature=0.5, top_p=0.9, seed=4, stop=("\n",)))
    assert (got.text, got.tokens, got.prompt_tokens, got.finish_reason) == ("Hello\u2028 日本", 3, 7, "length")
    path, _, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "llama3",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 4,
        "stop": ["\n"],
    }


def test_a_stream_is_its_pieces(server):
    usage = {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 2}}
    server.replies = [events(delta("Hel"), delta("lo\u2028\x85日本"), delta(reason="stop"), usage)]
    stream = model(server)[0].stream([{"role": "user", "content": "hi"}])
    assert list(stream) == ["Hel", "lo\u2028\x85日本"]
    assert (stream.result.text, stream.result.tokens, stream.result.finish_reason) == ("Hello\u2028\x85日本", 2, "stop")
    assert server.requests[0][2]["stream"] is True


def test_a_stream_can_be_left(server):
    server.replies = [events(*[delta("x")] * 50, delta(reason="stop"))]
    stream = model(server)[0].stream("hi")
    assert next(stream) == "x"
    stream.close()


def test_a_stream_that_breaks_off_is_an_error_and_no_short_answer(server):
    server.replies = [events(delta("Hel"), done=False)]
    with pytest.raises(RunError, match="ends without an end"):
        list(model(server)[0].stream("hi"))
    status, headers, body = events(delta("Hel"), done=False)
    server.replies = [(status, {**headers, "content-length": str(len(body) + 99)}, body)]
    server.http.RequestHandlerClass.protocol_version = "HTTP/1.0"
    with pytest.raises(RunError, match="broke in the middle"):
        list(model(server)[0].stream("hi"))


def test_an_error_inside_a_stream_is_an_error(server):
    server.replies = [events(delta("Hel"), {"error": {"message": "out of memory"}})]
    with pytest.raises(RunError, match="out of memory"):
        list(model(server)[0].stream("hi"))


def test_nothing_at_the_address_is_said_with_the_mend(closed_port):
    nowhere = EndpointModel(f"http://127.0.0.1:{closed_port}/v1", "llama3")
    with pytest.raises(UnavailableError, match="nothing answers") as caught:
        nowhere.generate("hi")
    assert "llmkit doctor" in caught.value.mend
    with pytest.raises(UnavailableError):
        list(nowhere.stream("hi"))


@pytest.mark.parametrize("call", ["generate", "stream"])
def test_a_busy_server_is_asked_again_after_growing_pauses(server, call):
    good = answer() if call == "generate" else events(delta("Hello"), delta(reason="stop"))
    server.replies = [failure(503), failure(500), failure(429, "slow down", **{"retry-after": "2.5"}), good]
    endpoint, pauses = model(server)
    got = endpoint.generate("hi") if call == "generate" else endpoint.stream("hi").result
    assert got.text == "Hello"
    assert pauses == [0.5, 1.0, 2.5]


def test_a_server_that_stays_busy_is_given_up(server):
    server.replies = [failure(503, "overloaded")]
    endpoint, pauses = model(server, retries=2)
    with pytest.raises(RunError, match="did not answer in 3 attempts; last: HTTP 503: overloaded"):
        endpoint.generate("hi")
    assert len(pauses) == 2 and len(server.requests) == 3


def test_no_server_is_waited_for_longer_than_half_a_minute(server):
    server.replies = [failure(429, **{"retry-after": "86400"}), answer()]
    endpoint, pauses = model(server)
    assert endpoint.generate("hi").text == "Hello" and pauses == [30.0]


def test_the_key_is_sent_from_the_variable_and_never_shown(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret\n")
    server.replies = [failure(401, "bad key sk-secret")]
    endpoint, _ = model(server, api_key_env="MY_KEY")
    with pytest.raises(UnavailableError, match="a key is refused") as caught:
        endpoint.generate("hi")
    assert server.requests[0][1]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in f"{caught.value} {caught.value.mend} {endpoint!r}"
    assert "MY_KEY" in caught.value.mend


def test_a_missing_key_is_said_to_be_needed(server):
    server.replies = [failure(401)]
    with pytest.raises(UnavailableError, match="a key is needed"):
        model(server)[0].generate("hi")
    assert "Authorization" not in server.requests[0][1]


def test_an_unknown_model_is_answered_with_the_closest(server):
    server.replies = [failure(404, "model not found")]
    with pytest.raises(NotFoundError, match="no model 'lama3'; did you mean 'llama3'") as caught:
        EndpointModel(server.url, "lama3").generate("hi")
    assert caught.value.mend == "it has llama3, qwen2.5"


def test_an_address_without_a_chat_endpoint_is_said_to_be_one(server):
    server.replies, server.models = [failure(404)], None
    with pytest.raises(NotFoundError, match="no chat endpoint"):
        model(server)[0].generate("hi")


def test_a_refused_request_is_not_repeated_and_shows_the_reason(server):
    server.replies = [failure(400, "maximum context\nlength is 4096")]
    with pytest.raises(DataError, match="maximum context length is 4096"):
        model(server)[0].generate("hi")
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}'])
def test_a_reply_that_is_something_else_is_an_error(server, body):
    server.replies = [(200, {}, body)]
    with pytest.raises(RunError, match="not an OpenAI chat completion"):
        model(server)[0].generate("hi")


def test_an_answer_that_takes_too_long_is_not_asked_for_again(server):
    waiting = threading.Event()
    handler = server.http.RequestHandlerClass
    respond = handler.reply
    handler.reply = lambda self, *reply: (waiting.wait(5), respond(self, *reply))
    server.replies = [answer()]
    endpoint, pauses = model(server, timeout=0.2)
    with pytest.raises(RunError, match=r"no answer within 0\.2 seconds"):
        endpoint.generate("hi")
    assert pauses == []
    waiting.set()


def test_a_proxy_never_sees_what_is_meant_for_this_machine(server, monkeypatch, closed_port):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    server.replies = [answer()]
    assert model(server)[0].generate("hi").text == "Hello"
    assert probe(server.url) == ["llama3", "qwen2.5"]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "", "http://", "http://[::1", "http://h:99999999/v1"])
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(UsageError, match="not a web address"):
        EndpointModel(url, "m")


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="password") as caught:
        EndpointModel("https://me:hunter2@host/v1", "m")
    assert "hunter2" not in f"{caught.value} {caught.value.mend}"


def test_probing_lists_the_models_or_nothing(server, closed_port):
    assert probe(server.url) == ["llama3", "qwen2.5"]
    assert probe(server.url + "/") == ["llama3", "qwen2.5"]
    assert probe(f"http://127.0.0.1:{closed_port}/v1") == []
    for models in (None, [], {"data": None}, {"data": ["x", {}]}):
        server.models = models
        assert probe(server.url) == []


def test_a_server_that_speaks_no_http_has_no_models():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        assert probe(f"http://127.0.0.1:{mute.getsockname()[1]}/v1", timeout=0.05) == []
