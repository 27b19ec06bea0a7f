from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from llmkit.evaluation.gate import GateResult
from llmkit.evaluation.junit import junit_xml
from llmkit.evaluation.result import Estimate, ItemFailure, TaskResult


def task(name="qa", failures=()) -> TaskResult:
    return TaskResult(
        task=name,
        kind="qa",
        metrics={"f1": Estimate(value=0.7213, stderr=0.03, ci=(0.66, 0.78), n=200)},
        items=(),
        data_digest="0",
        failures=failures,
    )


def gate(outcome, expr="f1>=0.70", why="because") -> GateResult:
    return GateResult(expr, outcome, why, "qa", "f1", 0.72, 0.7, (0.66, 0.78), 200)


def test_failed_and_inconclusive_gates_are_failures():
    root = ElementTree.fromstring(junit_xml([task()], [gate("passed"), gate("failed"), gate("inconclusive")]))
    gates = root.find("testsuite[@name='gates']")
    assert (root.get("tests"), root.get("failures"), gates.get("tests"), gates.get("failures")) == ("4", "2", "3", "2")
    assert [failure.get("type") for failure in gates.iter("failure")] == ["failed", "inconclusive"]
    assert root.find("testsuite[@name='tasks']/testcase/system-out").text == "f1: 0.7213 [0.66, 0.78] (n=200)"


def test_a_task_with_failed_items_is_a_failure_that_lists_them():
    failed = (ItemFailure(id="3", message="503"), ItemFailure(id="9", message="503"))
    root = ElementTree.fromstring(junit_xml([task(failures=failed)], []))
    failure = root.find(".//failure")
    assert failure.get("message").startswith("2 of 2 items failed") and failure.text == "3: 503\n9: 503"


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_gives_valid_xml(expr, why):
    root = ElementTree.fromstring(junit_xml([], [gate("failed", expr=expr, why=why)]))
    assert len(list(root.iter("testcase"))) == 1


def test_what_xml_cannot_hold_is_replaced_and_the_rest_is_kept():
    root = ElementTree.fromstring(junit_xml([], [gate("failed", why="a\x00b\x1b[31m<&>\ud800 日本\ufffe")]))
    assert root.find(".//failure").get("message") == "a\ufffdb\ufffd[31m<&>\ufffd 日本\ufffd"


def test_a_skipped_gate_is_neither_passed_nor_failed():
    root = ElementTree.fromstring(junit_xml([task()], [gate("skipped", why="no baseline yet"), gate("passed")]))
    gates = root.find("testsuite[@name='gates']")
    assert (gates.get("tests"), gates.get("failures"), gates.get("skipped")) == ("2", "0", "1")
    assert gates.find("testcase/skipped").get("message") == "no baseline yet"
