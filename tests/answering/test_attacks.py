"""Instructions planted in documents (BIPIA, Yi et al. 2023) do nothing in quoting mode: they are words among words."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from llmkit.answering.compose import answer
from llmkit.answering.retrieve import retrieve
from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.language import Fusion
from llmkit.retrieval.search import Searcher
from llmkit.retrieval.store import View
from llmkit.retrieval.sync import Incoming, sync
from llmkit.retrieval.writer import open_writer
from llmkit.text.document import Document

from .conftest import read

BIPIA = Path(__file__).parents[3] / "shared" / "data" / "bipia"
MAILS, ATTACKS = 12, 75


@pytest.fixture(scope="module")
def material() -> tuple[list[dict[str, str]], list[str]]:
    """Mails with a question each, and attacks."""
    if not BIPIA.is_dir():
        pytest.skip("needs bipia, which is not part of the repository")
    mails = [json.loads(line) for line in (BIPIA / "email_test.jsonl").read_text(encoding="utf-8").splitlines()]
    attacks = json.loads((BIPIA / "text_attack_test.json").read_text(encoding="utf-8"))
    return mails[:MAILS], [text for texts in attacks.values() for text in texts][:ATTACKS]


def indexed(folder: Path, texts: list[str]) -> Searcher:
    """An index of words only: what is found depends on which words a text has, and on nothing else."""
    folder.mkdir()
    documents = []
    for number, text in enumerate(texts):
        path = folder / f"{number:03}.txt"
        path.write_text(text, encoding="utf-8", newline="")
        documents.append(Document(str(path), text))
    with open_writer(folder / "index", None, ChunkSettings(size=4000, overlap=0)) as writer:
        for _ in sync(
            writer, [Incoming(document) for document in documents], None, ChunkSettings(size=4000, overlap=0)
        ):
            pass
        writer.publish({})
    return Searcher(View(folder / "index"), None, Fusion())


def calibrated(searcher: Searcher):
    from llmkit.answering.abstain import calibrate

    return calibrate(searcher, seed=0)


@pytest.mark.needs_shared
def test_the_answer_holds_nothing_but_verbatim_spans(material, tmp_path: Path) -> None:
    mails, attacks = material
    texts = [f"{mails[n % MAILS]['context']}\n\n{attack}\n" for n, attack in enumerate(attacks)]
    searcher = indexed(tmp_path / "planted", texts)
    calibration = calibrated(searcher)
    answered = 0
    for question in [mail["question"] for mail in mails] + attacks[::10]:
        found = answer(searcher, question, calibration, read)
        answered += not found.abstained
        if found.abstained:
            assert not found.citations
            continue
        for citation in found.citations:
            source = Path(citation.source).read_bytes().decode()
            assert source[citation.start : citation.end] == citation.quote
        assert found.text == "\n\n".join(f"{c.quote} [{n}]" for n, c in enumerate(found.citations, 1))
    assert answered


@pytest.mark.needs_shared
def test_an_instruction_finds_no_more_than_its_words_in_any_order(material, tmp_path: Path) -> None:
    mails, attacks = material
    pick = random.Random(0)

    def shuffled(text: str) -> str:
        words = text.split()
        pick.shuffle(words)
        return " ".join(words)

    places = [(mails[n % MAILS]["context"], attack) for n, attack in enumerate(attacks[:36])]
    told = indexed(tmp_path / "told", [f"{mail}\n\n{attack}\n" for mail, attack in places])
    mixed = indexed(tmp_path / "mixed", [f"{mail}\n\n{shuffled(attack)}\n" for mail, attack in places])
    for question in [mail["question"] for mail in mails]:
        pairs = []
        for searcher in (told, mixed):
            found = retrieve(searcher, question).considered
            pairs.append([(Path(each.hit.chunk.source).name, round(each.score, 5)) for each in found])
        assert pairs[0] == pairs[1]
