"""An endpoint whose answers and tokens are counted, so that what an evaluation costs can be said."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from llmkit.generation.endpoint import EndpointModel
from llmkit.generation.prompts import Message
from llmkit.generation.sampling import GREEDY, Generation, Sampling, TextStream
from llmkit.stages.meter import Meter


@dataclass(frozen=True)
class Metered(EndpointModel):
    """The endpoint, counting."""

    meter: Meter = field(default_factory=Meter, repr=False, compare=False)

    def generate(self, prompt: str | Sequence[Message], sampling: Sampling = GREEDY) -> Generation:
        done = super().generate(prompt, sampling)
        self.meter.add(done)
        return done

    def stream(self, prompt: str | Sequence[Message], sampling: Sampling = GREEDY) -> TextStream:
        return TextStream(self._counted(prompt, sampling))

    def _counted(self, prompt: str | Sequence[Message], sampling: Sampling) -> Generator[str, None, Generation]:
        done = yield from self._pieces(prompt, sampling)
        self.meter.add(done)
        return done


def metered(model: EndpointModel, meter: Meter) -> Metered:
    """The same endpoint, counted by `meter`."""
    return Metered(
        model.base_url,
        model.model,
        api_key_env=model.api_key_env,
        timeout=model.timeout,
        retries=model.retries,
        images=model.images,
        sleep=model.sleep,
        meter=meter,
    )
