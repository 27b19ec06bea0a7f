"""JUnit XML of an evaluation, the format in which CI systems show what passed and what did not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from llmkit.evaluation.gate import GateResult
from llmkit.evaluation.result import Estimate, TaskResult

# What XML 1.0 cannot hold even as a character reference; models do write such characters.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(results: Sequence[TaskResult], gates: Sequence[GateResult], *, name: str = "llmkit eval") -> bytes:
    """A UTF-8 document: one suite of tasks (a task with failed items fails), one of gates (inconclusive fails too)."""
    root = Element("testsuites", name=_clean(name))
    tasks = SubElement(root, "testsuite", name="tasks", tests=str(len(results)))
    for result in results:
        case = SubElement(tasks, "testcase", classname=f"tasks.{_clean(result.kind)}", name=_clean(result.task))
        if result.failures:
            first = result.failures[0]
            every = "\n".join(f"{failure.id}: {failure.message}" for failure in result.failures)
            total = len(result.failures) + len(result.items)
            message = f"{len(result.failures)} of {total} items failed; '{first.id}': {first.message}"
            SubElement(case, "failure", type="failed items", message=_clean(message)).text = _clean(every)
        lines = [f"{metric}: {describe(estimate)}" for metric, estimate in result.metrics.items()]
        SubElement(case, "system-out").text = _clean("\n".join([*lines, *result.notes]))
    suite = SubElement(root, "testsuite", name="gates", tests=str(len(gates)))
    for gate in gates:
        case = SubElement(suite, "testcase", classname="gates", name=_clean(gate.expr))
        if gate.outcome == "passed":
            SubElement(case, "system-out").text = _clean(gate.explanation)
        elif not gate.stops:
            SubElement(case, "skipped", message=_clean(gate.explanation))
        else:
            SubElement(case, "failure", type=gate.outcome, message=_clean(gate.explanation))
    for part in (tasks, suite):
        part.set("failures", str(len(part.findall("testcase/failure"))))
        part.set("errors", "0")
        part.set("skipped", str(len(part.findall("testcase/skipped"))))
    root.set("tests", str(len(results) + len(gates)))
    root.set("failures", str(len(root.findall("testsuite/testcase/failure"))))
    indent(root)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def describe(estimate: Estimate) -> str:
    """A metric for a reader: the value, its interval and the number of items."""
    unit = f" {estimate.unit}" if estimate.unit else ""
    interval = f" [{estimate.ci[0]:.4g}, {estimate.ci[1]:.4g}]" if estimate.ci else ""
    return f"{estimate.value:.4g}{unit}{interval} (n={estimate.n:,})"


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
