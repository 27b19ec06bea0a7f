import pickle
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import PrivacyOptions
from llmkit.data.drops import Drop
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.privacy.patterns import find_pii
from llmkit.data.steps.privacy.step import PrivacyStep, replaced
from llmkit.errors import ConfigError, UnavailableError
from llmkit.text.document import Document

TEXT = "Taro <taro@example.jp>, 電話03-1234-5678。\nTARO@example.jp か ０３－１２３４－５６７８、hanako@example.jp。\n"


def step(**options: object) -> PrivacyStep:
    return PrivacyStep(PrivacyOptions.model_validate(options))


def passed(result: Passed | Drop) -> Passed:
    assert isinstance(result, Passed)
    return result


def test_counting_leaves_the_document_as_it_is() -> None:
    document = Document("a.txt", TEXT, pages=(0,))
    result = passed(step()(document))
    assert result.document is document
    assert result.facts == {"pii": {"email": 3, "phone": 2}}
    assert result.changes == {}


def test_replacing_puts_a_placeholder_of_the_type_in_place() -> None:
    result = passed(step(pii="replace")(Document("a.txt", TEXT, record="7")))
    assert result.document.text == "Taro <<EMAIL>>, 電話<PHONE>。\n<EMAIL> か <PHONE>、<EMAIL>。\n"
    assert result.document.record == "7"
    assert result.changes == {"email": 3, "phone": 2}
    assert result.facts == {"pii": {"email": 3, "phone": 2}}


def test_pages_and_lines_of_the_source_are_still_found_after_replacing() -> None:
    text = "mail taro@example.jp\nsecond page\n"
    document = Document("a.pdf", text, pages=(0, text.index("second")), line_map=((2, 5),))
    after = passed(step(pii="replace")(document)).document
    assert after.pages == (0, after.text.index("second"))
    assert after.line_map == document.line_map


def test_consistent_placeholders_number_the_distinct_values_of_a_type() -> None:
    """Case does not make another address, nor does width another telephone."""
    result = passed(step(pii="replace", consistent=True)(Document("a.txt", TEXT)))
    assert result.document.text == "Taro <<EMAIL_1>>, 電話<PHONE_1>。\n<EMAIL_1> か <PHONE_1>、<EMAIL_2>。\n"


def test_dropping_says_how_many_of_which_type_but_not_what() -> None:
    result = step(pii="drop")(Document("a.txt", TEXT, record="3"))
    assert result == Drop("a.txt", "privacy", "pii", "3 emails, 2 phones", "3")


def test_a_document_without_any_passes_in_every_mode_with_no_facts() -> None:
    document = Document("a.txt", "Nothing to see here. 何もありません。")
    for mode in ("count", "replace", "drop", "off"):
        assert step(pii=mode)(document) == Passed(document)


def test_off_does_not_look() -> None:
    document = Document("a.txt", TEXT)
    assert step(pii="off")(document) == Passed(document)


def test_only_some_types_can_be_asked_for() -> None:
    result = passed(step(pii="replace", pii_types=("phone",))(Document("a.txt", TEXT)))
    assert result.changes == {"phone": 2}
    assert "taro@example.jp" in result.document.text


def test_a_type_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="did you mean 'phone'"):
        step(pii_types=("fone",))


def test_a_private_key_is_replaced_with_its_lines_kept() -> None:
    body = "q7Rk2vXc9LmT4bNz8HdWs3JfPy6GaEu5q7Rk2vXc9LmT4bNz8HdWs3JfPy6GaEu5"
    text = "before\n-----BEGIN {0}-----\n{1}\n{1}\n-----END {0}-----\nafter".format("PRIVATE KEY", body)
    result = passed(step(pii="replace")(Document("a.txt", text)))
    assert result.document.text == "before\n<PRIVATE_KEY>\n\n\n\nafter"


def test_source_code_is_searched_with_more_care() -> None:
    number = "value = 09012345678"
    assert passed(step()(Document("a.txt", number))).facts == {"pii": {"phone": 1}}
    assert passed(step()(Document("a.py", number, media="text/x-python"))).facts == {}


def test_a_step_works_the_same_after_it_was_sent_to_another_process() -> None:
    before = step(pii="replace", consistent=True)
    after = pickle.loads(pickle.dumps(before))
    assert after(Document("a.txt", TEXT)) == before(Document("a.txt", TEXT))


@pytest.mark.skipif(find_spec("presidio_analyzer") is not None, reason="Presidio is installed")
def test_presidio_that_is_not_installed_is_refused_with_the_command_that_installs_it() -> None:
    with pytest.raises(UnavailableError) as raised:
        step(recogniser="presidio")
    assert raised.value.mend is not None
    assert "llmkit[presidio]" in raised.value.mend


PIECES = (
    "taro@example.jp",
    "03-1234-5678",
    "8.8.4.4",
    "4111 1111 1111 1111",
    "https://a:s3cr3tPw@b.example/",
    "本文です。",
)
LINES = (
    "\n",
    "\r\n",
    "words ",
    "１２３",
    "שלום ",
    "-----BEGIN PRIVATE KEY-----\n",
    "a1b2" * 20,
    "-----END PRIVATE KEY-----",
)
pieces = st.sampled_from(PIECES + LINES)


@given(st.lists(pieces, max_size=12).map("".join), st.booleans())
def test_replacing_never_adds_or_removes_a_line(text: str, consistent: bool) -> None:
    clean = replaced(text, find_pii(text), consistent=consistent)
    assert len(clean.splitlines()) == len(text.splitlines())
    assert clean.count("\n") == text.count("\n")


@given(st.lists(pieces, max_size=12).map("; ".join))
def test_what_was_replaced_is_not_found_again(text: str) -> None:
    clean = replaced(text, find_pii(text))
    left = {match.value for match in find_pii(clean)}
    assert left.isdisjoint(match.value for match in find_pii(text))
