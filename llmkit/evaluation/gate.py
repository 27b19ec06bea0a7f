"""Gates: conditions on metrics that decide whether a model may be released.

    gate   = [mode ":"] [task "."] metric op bound
    mode   = "sure" | "point"
    op     = ">=" | "<=" | ">" | "<"
    bound  = number [unit]  |  "baseline" [("+" | "-") number [unit]]
    unit   = "%" | "us" | "ms" | "s" | "min"

`f1>=0.70` compares the estimate, `sure: f1>=0.70` the end of its interval that is nearer to failing.
`f1>=baseline-0.01` is a test of non-inferiority: it looks at the interval of the paired difference, and passes only
when all of that is on the right side of the margin. When all of it is on the wrong side the gate has failed, and in
between it is inconclusive, which is no pass either. `point:` compares the two estimates instead.

This module is imported to check flags, so it needs neither numpy nor torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmkit.errors import DataError, UsageError, closest
from llmkit.evaluation.result import Difference, Estimate, Interval, TaskComparison, TaskResult

Mode = Literal["estimate", "sure", "point"]
Operator = Literal[">=", "<=", ">", "<"]
Outcome = Literal["passed", "failed", "inconclusive", "skipped"]

_SECONDS: Mapping[str, float] = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_NAME = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9_-]*)\.)?([A-Za-z][A-Za-z0-9_]*(?:@[A-Za-z0-9]+(?:-[a-z]+)*)?)")
_MODE = re.compile(r"([A-Za-z]+)\s*:")
_OPERATOR = re.compile(r">=|<=|>|<(?!=)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNIT = re.compile(r"[A-Za-zµ]+|%")
_ROUNDING = 1e-9
"""0.71 - 0.72 is not -0.01 in binary: what is this close to the bar is on it."""


@dataclass(frozen=True)
class Gate:
    """A parsed gate.

    Attributes:
        bound: the number to compare with, or with `baseline` the margin to add to the baseline; times in seconds.
        unit: "s" if a unit of time was written.
    """

    expr: str
    mode: Mode
    task: str | None
    metric: str
    op: Operator
    bound: float
    unit: Literal["", "s"] = ""
    baseline: bool = False

    @property
    def wants_more(self) -> bool:
        return self.op in (">=", ">")

    def holds(self, value: float) -> bool:
        slack = _ROUNDING * max(1.0, abs(self.bound))
        gap = value - self.bound if self.wants_more else self.bound - value
        return gap > slack if self.op in (">", "<") else gap >= -slack


@dataclass(frozen=True)
class GateResult:
    """What came of a gate.

    `value`, `ci` and `bound` are of the difference where the gate is on the baseline, which `of_baseline` says.
    `items_needed` is how many items would decide an inconclusive gate if the figures stayed as they are; None if no
    number would.
    """

    expr: str
    outcome: Outcome
    explanation: str
    task: str
    metric: str
    value: float
    bound: float
    ci: Interval | None
    items: int
    items_needed: int | None = None
    unit: str = ""
    op: str = ">="
    of_baseline: bool = False

    @property
    def stops(self) -> bool:
        """Whether it keeps a release back."""
        return self.outcome in ("failed", "inconclusive")


def parse_gate(text: str) -> Gate:
    """Read one gate.

    Raises:
        UsageError: it is not a gate; the message shows the place with a caret.
    """
    scan = _Scanner(text)
    mode = _mode(scan)
    name = scan.take(_NAME)
    if name is None:
        raise scan.error("a metric is missing here", "write METRIC>=NUMBER, as in 'f1>=0.70'")
    op = scan.take(_OPERATOR)
    if op is None:
        raise scan.error("one of >=, <=, > or < is missing here", f"write '{name[0]}>=0.70', for example")
    operator: Operator = op[0]  # type: ignore[assignment]  # the pattern admits nothing else
    bound, unit, baseline = _bound(scan)
    if not scan.at_end:
        raise scan.error("this is more than a gate", "one condition per gate; numbers have a point and no commas")
    return Gate(text.strip(), mode, name[1], name[2], operator, bound, unit, baseline)


def _mode(scan: _Scanner) -> Mode:
    start = scan.position
    found = scan.take(_MODE)
    if found is None:
        return "estimate"
    if found[1] == "sure":
        return "sure"
    if found[1] == "point":
        return "point"
    hint = closest(found[1], ("sure", "point"))
    raise scan.error(f"'{found[1]}:' is not a mode{hint}", "the modes are 'sure:' and 'point:'", at=start)


def _bound(scan: _Scanner) -> tuple[float, Literal["", "s"], bool]:
    """(number, unit, whether it is relative to the baseline)."""
    if scan.take(re.compile(r"baseline\b")):
        sign = scan.take(re.compile(r"[+-]"))
        if sign is None:
            return 0.0, "", True
        number, unit = _quantity(scan, percent=False)
        return (-number if sign[0] == "-" else number), unit, True
    number, unit = _quantity(scan, percent=True)
    return number, unit, False


def _quantity(scan: _Scanner, *, percent: bool) -> tuple[float, Literal["", "s"]]:
    start = scan.position
    found = scan.take(_NUMBER)
    if found is None:
        what = "a number or 'baseline'" if percent else "a number"
        raise scan.error(f"{what} is missing here", "write a number such as 0.70")
    number = float(found[0])
    if not math.isfinite(number):
        raise scan.error("this number is too large", "write a finite number", at=start)
    start = scan.position
    unit = scan.take(_UNIT)
    if unit is None:
        return number, ""
    if unit[0] == "%":
        if percent:
            return number / 100, ""
        raise scan.error(
            "a percentage of what?", f"write {number / 100:g} for points of the metric's own scale", at=start
        )
    symbol = unit[0].replace("µ", "u")
    if symbol not in _SECONDS:
        hint = closest(symbol, _SECONDS)
        raise scan.error(f"'{unit[0]}' is not a unit{hint}", "the units are %, us, ms, s and min", at=start)
    return number * _SECONDS[symbol], "s"


class _Scanner:
    """A place in a text that moves on over patterns and the spaces before them."""

    def __init__(self, text: str) -> None:
        self._text = re.sub(r"\s", " ", text)
        self.position = 0
        self._skip()

    @property
    def at_end(self) -> bool:
        return self.position == len(self._text)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self.position)
        if found:
            self.position = found.end()
            self._skip()
        return found

    def error(self, what: str, mend: str, *, at: int | None = None) -> UsageError:
        place = self.position if at is None else at
        return UsageError(f"not a gate: {what}\n  {self._text}\n  {' ' * place}^", where="--gate", mend=mend)

    def _skip(self) -> None:
        while self.position < len(self._text) and self._text[self.position] == " ":
            self.position += 1


def resolve(gate: Gate, measured: Mapping[str, Collection[str]]) -> tuple[str, str]:
    """(task, metric) that a gate is about, among the metrics measured by each task.

    Call it before the work too, with what the suite is going to measure.

    Raises:
        UsageError: the metric is not measured, or by several tasks and the gate does not say which is meant.
    """
    where = f"--gate {gate.expr}"
    if gate.task is not None and gate.task not in measured:
        known = "the tasks are " + ", ".join(measured)
        raise UsageError(f"there is no task '{gate.task}'{closest(gate.task, measured)}", where=where, mend=known)
    tasks = [task for task in ([gate.task] if gate.task else measured) if gate.metric in measured[task]]
    if not tasks:
        names = measured[gate.task] if gate.task else sorted({name for task in measured.values() for name in task})
        raise UsageError(
            f"{gate.metric} is not measured{closest(gate.metric, names)}",
            where=where,
            mend="measured are " + ", ".join(names),
        )
    if len(tasks) > 1:
        choices = " or ".join(f"'{task}.{gate.metric}'" for task in tasks)
        raise UsageError(f"{gate.metric} is measured by {len(tasks)} tasks", where=where, mend=f"write {choices}")
    return tasks[0], gate.metric


def judge(
    gate: Gate,
    results: Sequence[TaskResult],
    comparisons: Sequence[TaskComparison] | None = None,
    *,
    awaited: str = "",
) -> GateResult:
    """Decide a gate.

    Args:
        comparisons: with the baseline; None if there is no baseline.
        awaited: a baseline that does not exist yet, which was allowed: gates on it are skipped.

    Raises:
        UsageError: the metric was not measured or is ambiguous, there is no baseline, or a unit is missing or wrong.
        DataError: the metric cannot be compared with the baseline's.
    """
    task, metric = resolve(gate, {result.task: list(result.metrics) for result in results})
    result = next(r for r in results if r.task == task)
    missing = len(result.failures)
    figure: Estimate | Difference = result.metrics[metric]
    check_unit(gate, figure.unit)
    if gate.baseline and awaited:
        why = f"{metric} is {_number(figure.value, figure.unit)}; there is no baseline {awaited} yet to compare it with"
        return _result(gate, "skipped", why, (task, metric), figure)
    if gate.baseline:
        comparison = _comparison(gate, task, metric, comparisons)
        figure, missing = comparison.differences[metric], max(missing, comparison.missing)
    outcome, explanation, needed = _decide(gate, figure)
    if missing and outcome == "passed":
        outcome, needed = "inconclusive", None
        explanation += f"; but {missing} items could not be evaluated, and a gate does not pass on part of the data"
    return replace(_result(gate, outcome, explanation, (task, metric), figure), items_needed=needed)


def _result(
    gate: Gate, outcome: Outcome, explanation: str, about: tuple[str, str], figure: Estimate | Difference
) -> GateResult:
    return GateResult(
        expr=gate.expr,
        outcome=outcome,
        explanation=explanation,
        task=about[0],
        metric=about[1],
        value=figure.value,
        bound=gate.bound,
        ci=figure.ci,
        items=figure.n,
        unit=figure.unit,
        op=gate.op,
        of_baseline=gate.baseline and outcome != "skipped",
    )


def _comparison(gate: Gate, task: str, metric: str, comparisons: Sequence[TaskComparison] | None) -> TaskComparison:
    where = f"--gate {gate.expr}"
    found = next((c for c in comparisons or () if c.task == task), None)
    if found is None:
        mend = "name one with --baseline REF, or compare with a number"
        raise UsageError(f"there is no baseline to compare {metric} with", where=where, mend=mend)
    if metric not in found.differences:
        why = next((note for note in found.notes if note.startswith(f"{metric} ")), f"{metric} has no difference")
        raise DataError(why, where=where, mend="gate on a metric that both systems share")
    return found


def check_unit(gate: Gate, unit: str) -> None:
    """Raise UsageError if a time is compared with a bare number, or something else with a time.

    Args:
        unit: the metric's, "s" or "".
    """
    if unit == gate.unit or (gate.baseline and gate.bound == 0):
        return
    if unit:
        number = f"{gate.bound:g}"
        mend = f"write {number}s or {number}ms"
        raise UsageError(f"{gate.metric} is a time and {number} has no unit", where=f"--gate {gate.expr}", mend=mend)
    raise UsageError(f"{gate.metric} is not a time", where=f"--gate {gate.expr}", mend="leave the unit out")


def _decide(gate: Gate, figure: Estimate | Difference) -> tuple[Outcome, str, int | None]:
    name = f"{gate.metric} minus the baseline's" if gate.baseline else gate.metric
    shown = f"{name} is {_number(figure.value, figure.unit)}"
    bar = f"{gate.op} {_number(gate.bound, figure.unit)}"
    if gate.mode == "point" or (gate.mode == "estimate" and not gate.baseline):
        outcome: Outcome = "passed" if gate.holds(figure.value) else "failed"
        return outcome, f"{shown}, required is {bar}", None
    if figure.ci is None:
        return "inconclusive", f"{shown}, which has no interval: that needs items of two documents or more", None
    near, far = figure.ci if gate.wants_more else figure.ci[::-1]
    end = "lower" if gate.wants_more else "upper"
    shown += f", 95% interval {_number(figure.ci[0], figure.unit)} to {_number(figure.ci[1], figure.unit)}"
    if gate.holds(near):
        return "passed", f"{shown}: its {end} end is {bar}", None
    if not gate.holds(far):
        return "failed", f"{shown}: none of it is {bar}", None
    needed = _items_needed(figure, gate.bound, reach=abs(figure.value - (near if gate.holds(figure.value) else far)))
    more = "no number of items would decide it" if needed is None else f"about {needed:,} items would decide it"
    return "inconclusive", f"{shown}: it holds {_number(gate.bound, figure.unit)} ({figure.n:,} items; {more})", needed


def _items_needed(figure: Estimate | Difference, bound: float, *, reach: float) -> int | None:
    """Items at which the interval, whose reach shrinks with the square root of their number, ends at the bar."""
    distance = abs(figure.value - bound)
    if distance <= _ROUNDING * max(1.0, abs(bound)):
        return None
    return max(figure.n + 1, math.ceil(figure.n * (reach / distance) ** 2))


def _number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.4g} ms" if abs(value) < 1 else f"{value:.4g} s"
    return f"{value:.4g}"
