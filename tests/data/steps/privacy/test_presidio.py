import pickle
from importlib.util import find_spec

import pytest

from llmkit.config.sections import PrivacyOptions
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.privacy.presidio import PresidioAnalyzer
from llmkit.data.steps.privacy.step import PrivacyStep
from llmkit.text.document import Document

pytestmark = pytest.mark.skipif(find_spec("presidio_analyzer") is None, reason="needs the extra llmkit[presidio]")

TEXT = "taro@example.co.jp, Tel. 03-1234-5678, card 4111 1111 1111 1111, IBAN DE89370400440532013000"


def test_presidio_and_the_rules_find_the_same_types_here() -> None:
    found = PresidioAnalyzer()(TEXT, code=False)
    assert [match.type for match in found] == ["email", "phone", "credit_card", "iban"]
    assert all(TEXT[match.start : match.end] == match.value for match in found)


def test_types_that_presidio_does_not_know_are_looked_for_by_rules() -> None:
    found = PresidioAnalyzer()("個人番号 123456789018", code=False)
    assert [match.type for match in found] == ["my_number"]


def test_positions_are_true_in_a_text_longer_than_one_piece() -> None:
    text = "some words\n" * 10_000 + TEXT
    first = PresidioAnalyzer(("email",))(text, code=False)[0]
    assert text[first.start : first.end] == first.value == "taro@example.co.jp"


def test_the_step_uses_it_behind_the_same_call() -> None:
    step = pickle.loads(
        pickle.dumps(PrivacyStep(PrivacyOptions(recogniser="presidio", pii="replace", consistent=True)))
    )
    result = step(Document("a.txt", TEXT))
    assert isinstance(result, Passed)
    assert result.document.text == "<EMAIL_1>, Tel. <PHONE_1>, card <CREDIT_CARD_1>, IBAN <IBAN_1>"
