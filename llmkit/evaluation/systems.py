"""Several systems on one test set: which of them differ, and what a thousand questions to each would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from llmkit.evaluation.compare import compare
from llmkit.evaluation.result import Difference, Finite, TaskResult
from llmkit.evaluation.stats import holm

SIGNIFICANT = 0.05
_LATENCY = "latency"


class Pair(BaseModel):
    """Two systems in one metric of one task; the difference is `second` minus `first`.

    Attributes:
        adjusted_p: by Holm's method, over all pairs of systems in this metric of this task.
        significant: whether that is below 0.05.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    metric: str
    first: str
    second: str
    difference: Difference
    adjusted_p: Finite
    significant: bool


def pairwise(measured: Mapping[str, Sequence[TaskResult]]) -> tuple[list[Pair], list[str]]:
    """Every two systems that were measured by the same task, in every metric that is not a time, with what could not
    be compared in words.

    Raises:
        DataError: the systems were measured on different items.
    """
    pairs: list[Pair] = []
    notes: list[str] = []
    for task in dict.fromkeys(result.task for results in measured.values() for result in results):
        by_system = {
            system: result for system, results in measured.items() for result in results if result.task == task
        }
        found: dict[str, list[tuple[str, str, Difference]]] = {}
        for first, second in combinations(by_system, 2):
            compared = compare(by_system[second], by_system[first])
            notes += [f"{task}, {second} against {first}: {note}" for note in compared.notes]
            for name, difference in compared.differences.items():
                if not difference.unit:
                    found.setdefault(name, []).append((first, second, difference))
        for name, differences in found.items():
            adjusted = holm([difference.p_value for *_, difference in differences])
            pairs += [
                Pair(
                    task=task,
                    metric=name,
                    first=first,
                    second=second,
                    difference=difference,
                    adjusted_p=p,
                    significant=p < SIGNIFICANT,
                )
                for (first, second, difference), p in zip(differences, adjusted, strict=True)
            ]
    return pairs, notes


def seconds_per_question(result: TaskResult) -> float | None:
    """The mean time of an item; None where none was taken."""
    times = [record.scores[_LATENCY].value for record in result.items if _LATENCY in record.scores]
    return sum(times) / len(times) if times else None


def cost_of_compute(result: TaskResult, price_per_hour: float | None, *, questions: int = 1000) -> float | None:
    """What the seconds of so many questions cost at that price; None where the price or the time is not known."""
    seconds = seconds_per_question(result)
    return None if price_per_hour is None or seconds is None else questions * seconds * price_per_hour / 3600


def cost_of_tokens(
    tokens: tuple[int, int], answered: int, prices: tuple[float | None, float | None], *, questions: int = 1000
) -> float | None:
    """What an endpoint would take for so many questions like those answered.

    Args:
        tokens: read and written for the questions that were answered.
        prices: of a million tokens read, and written. None where one of the two is not known.
    """
    read, written = prices
    if read is None or written is None or not answered or not sum(tokens):
        return None
    return questions * (tokens[0] * read + tokens[1] * written) / 1e6 / answered
