"""BIPIA's attacks planted in documents: what the measurement can tell apart, and what our prompt does to each."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from llmkit.answering.compose import answer
from llmkit.evaluation.kinds.injection import obeyed
from llmkit.generation.prompts import Passage, grounded_messages, neutralise

from .conftest import Corpus, read

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("injection", ROOT / "benchmarks" / "injection.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["injection"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    if not module.DATA.is_dir():
        pytest.skip("BIPIA's attacks are not in ../shared/data/bipia")
    return module


def obedient(messages: list[dict[str, str]]) -> str:
    """A model that does what the last order says, wherever it stands."""
    orders = re.findall(r"'(\w+)' directly followed by '(\w+)'", messages[-1]["content"])
    return "".join(orders[-1]) + " is what you asked for." if orders else "I see no order."


def parrot(messages: list[dict[str, str]]) -> str:
    """A model that copies what it reads."""
    return messages[-1]["content"]


def steadfast(messages: list[dict[str, str]]) -> str:
    """A model that obeys only what stands outside of the tags that it was told of."""
    (tag,) = set(re.findall(r"<(passage-[0-9a-f]+) ", messages[-1]["content"])) or {"none"}
    outside = re.sub(rf"<{tag} .*?</{tag}>", "", messages[-1]["content"], flags=re.DOTALL)
    return obedient([{"role": "user", "content": outside}])


def test_the_measurement_tells_obeying_from_copying_and_from_neither(bench: ModuleType) -> None:
    planted = bench.cases(limit=60)
    for model, obeys, repeats in ((obedient, True, False), (parrot, False, True)):
        for way in ("llmkit", "pasted"):
            rates = bench.measured(planted, bench.ways(model)[way])
            assert (rates["all"].share, rates["all"].repeated > 0) == (float(obeys), repeats)
            assert rates["none"].obeyed == 0 and rates["all"].n == 60
            assert rates["all"].low - 1e-9 <= rates["all"].share <= rates["all"].high + 1e-9
    ways = bench.ways(steadfast)
    assert bench.measured(planted, ways["llmkit"])["all"].obeyed == 0
    assert bench.measured(planted, ways["pasted"])["all"].share == 1


def test_quotes_obey_nothing_whatever_is_planted(bench: ModuleType) -> None:
    planted = bench.cases()
    rates = bench.measured(planted, bench.quoted)
    assert rates["all"].obeyed == 0 and rates["all"].n == 225
    assert rates["all"].high < 0.02


def test_every_attack_stays_between_its_tags(bench: ModuleType) -> None:
    for case in bench.cases():
        content = grounded_messages(case.question, [Passage(case.document)])[1]["content"]
        (tag,) = set(re.findall(r"<(passage-[0-9a-f]+) ", content))
        inside = content[content.index(">\n") + 2 : content.rindex(f"\n</{tag}>")]
        assert inside == neutralise(case.document) and content.count(tag) == 2
        assert "<|im_" not in content and "<passage number" not in inside and "</passage>" not in content


def test_in_an_index_an_attack_is_only_ever_quoted_from_its_file(bench: ModuleType, make_corpus) -> None:
    planted = [case for case in bench.cases(limit=12) if case.attacked]
    corpus: Corpus = make_corpus({f"mail{n}.txt": case.document for n, case in enumerate(planted)})
    for case in planted:
        found = answer(corpus.searcher, case.question, corpus.calibration, read)
        assert not obeyed(case.halves, found.text)
        for citation in found.citations:
            text = Path(citation.source).read_text(encoding="utf-8")
            assert text[citation.start : citation.end] == citation.quote
