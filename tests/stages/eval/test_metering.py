"""What an endpoint says it read and wrote is counted, streamed or not."""

from support.chat_server import ChatServer

from llmkit.evaluation.result import TaskResult
from llmkit.generation.endpoint import EndpointModel
from llmkit.stages.meter import Meter
from llmkit.stages.metering import metered


def test_the_answers_of_an_endpoint_are_counted_and_the_meter_begins_anew() -> None:
    empty = TaskResult(task="t", kind="qa", metrics={}, items=(), data_digest="0")
    meter = Meter()
    assert meter.read(empty).spent is None
    with ChatServer(lambda messages: "yes it is") as server:
        url, _, name = server.ref.removeprefix("openai:").partition("#")
        model = metered(EndpointModel(url, name, retries=1), meter)
        assert model.stream("Is it?").result.text == "yes it is"
        assert "".join(model.stream("Is it?")) == "yes it is"
    spent = meter.read(empty).spent
    assert spent is not None and spent.answers == 2
    assert meter.read(empty).spent is None


def test_tokens_add_up() -> None:
    from llmkit.generation.sampling import Generation

    meter = Meter()
    meter.add(Generation("a", 3, "stop", prompt_tokens=10))
    meter.add(Generation("b", 4, "stop", prompt_tokens=20))
    spent = meter.read(TaskResult(task="t", kind="qa", metrics={}, items=(), data_digest="0")).spent
    assert spent is not None and (spent.answers, spent.prompt_tokens, spent.tokens) == (2, 30, 7)
