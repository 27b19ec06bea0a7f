import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import LanguageOptions
from llmkit.data.drops import Drop
from llmkit.data.steps.language import KNOWN_LANGUAGES, LanguageStep, check_language, identify
from llmkit.data.steps.passed import Passed
from llmkit.errors import ConfigError
from llmkit.text.document import Document

SHARED = Path(__file__).parents[3] / "shared" / "data"
# Running text in 17 languages, written for the tests.
PASSAGES: dict[str, str] = json.loads((Path(__file__).parent / "quality" / "passages.json").read_text(encoding="utf-8"))


def outcome(text: str, *, media: str = "text/plain", **options: Any) -> Passed | Drop:
    return LanguageStep(LanguageOptions(**options))(Document("a.txt", text, media))


def dropped(text: str, **options: Any) -> Drop:
    result = outcome(text, **options)
    assert isinstance(result, Drop)
    return result


def facts(text: str) -> dict[str, object]:
    result = outcome(text)
    assert isinstance(result, Passed)
    return dict(result.facts)


@pytest.mark.parametrize("language", PASSAGES)
def test_running_text_is_identified_with_confidence(language: str) -> None:
    found = identify(PASSAGES[language])
    assert (found.language, found.mixed) == (language, ())
    assert found.confidence > 0.9


@pytest.mark.parametrize("language", PASSAGES)
def test_two_lines_are_enough(language: str) -> None:
    assert identify(PASSAGES[language][:80]).language == language


def test_every_known_language_is_one_of_the_model() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    labels = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).labels
    assert {label for label in labels if len(label) == 2} == KNOWN_LANGUAGES


@pytest.mark.parametrize(
    "text",
    [
        "第一条　国会は、国権の最高機関であって、国の唯一の立法機関である。",
        "東京電力福島第一原子力発電所事故調査委員会報告書",  # no kana, but 発 and 電's neighbours are of Japanese form
        "東京都渋谷区道玄坂二丁目 渋谷駅前交番 営業時間午前九時",
        "ｶﾀｶﾅだけの半角ﾒﾆｭｰです",
    ],
)
def test_japanese_in_mostly_kanji_is_not_taken_for_chinese(text: str) -> None:
    assert identify(text).language == "ja"


@pytest.mark.parametrize(
    "text",
    [
        "中华人民共和国国务院办公厅关于进一步加强知识产权保护工作的通知",
        "中華民國憲法增修條文規定總統由人民直接選舉之",
        "这部电影的日文片名是《君の名は》，由新海诚担任导演和编剧，讲述了两个高中生在梦中相遇的故事，上映以后在亚洲各地"
        "引起了很大的反响，票房也一再刷新纪录，许多观众为了故事里的风景专门前往取景地旅行，当地的商店因此热闹了好几年。",
    ],
)
def test_chinese_stays_chinese_in_both_forms_and_with_a_japanese_title(text: str) -> None:
    assert identify(text).language == "zh"


def test_english_that_quotes_japanese_stays_english_and_the_other_way_round() -> None:
    english = PASSAGES["en"] + " The sign at the door says 図書館へようこそ in large letters."
    assert identify(english).language == "en"
    japanese = PASSAGES["ja"] + "司書の机には Welcome to the library と書かれた札がある。"
    assert identify(japanese).language == "ja"


def test_a_document_in_two_scripts_names_both_languages() -> None:
    found = identify(PASSAGES["en"][:160] + "\n" + PASSAGES["ja"][:60])
    assert (found.language, found.mixed) == ("en", ("ja",))
    assert facts(PASSAGES["ru"][:150] + "\n" + PASSAGES["en"][:90])["languages_mixed"] == ["en"]


@pytest.mark.parametrize("text", ["", "1, 2, 3 - 4.5 %", "OK", "\n\n", "🎉🎉🎉"])
def test_texts_of_too_few_letters_are_undetermined(text: str) -> None:
    assert facts(text) == {"language": "und", "confidence": 0.0}


def test_source_code_has_no_language_and_passes_every_rule() -> None:
    result = outcome("print('こんにちは')", media="text/x-python", languages=("en",), drop_languages=("ja",))
    assert isinstance(result, Passed)
    assert result.facts["language"] == ""


def test_a_drop_says_which_language_was_found_and_which_was_asked_for() -> None:
    drop = dropped(PASSAGES["fr"], languages=("en", "ja"))
    assert (drop.step, drop.reason) == ("language", "other_language")
    assert drop.detail.startswith("'fr' with confidence ") and drop.detail.endswith("not en, ja")
    assert dropped(PASSAGES["ja"], drop_languages=("ja",)).reason == "dropped_language"
    assert dropped("1234", languages=("en",)).reason == "low_confidence"


def test_what_is_in_a_wanted_language_but_not_surely_is_dropped_for_its_confidence() -> None:
    text = PASSAGES["ja"][:20] + " and so it goes on and on for a while"
    assert 0.65 < identify(text).confidence < 0.95
    assert dropped(text, languages=("ja",), confidence=0.95).reason == "low_confidence"
    assert isinstance(outcome(text, languages=("ja",)), Passed)
    assert isinstance(outcome(text, languages=("ja",), confidence=0.0), Passed)
    assert dropped(text, languages=("ko",), confidence=0.0).reason == "other_language"


def test_japanese_full_of_latin_names_is_japanese_for_sure() -> None:
    text = PASSAGES["ja"][:60] + " PostgreSQL, Kubernetes, Elasticsearch, TensorFlow"
    assert identify(text).language == "ja"
    assert identify(text).confidence == 1


def test_close_languages_that_are_both_wanted_are_certain_together() -> None:
    text = "Jeg ved ikke, om det er en god idé at gå hjem nu."
    found = identify(text)
    pair = [language for language, _ in found.candidates[:2]]
    assert found.certainty(pair) > found.confidence
    assert found.certainty(()) == 0


def test_nothing_is_identified_where_nobody_asks() -> None:
    assert outcome("whatever", identify=False) == Passed(Document("a.txt", "whatever"))
    assert outcome(PASSAGES["de"], identify=False, languages=("de",)) != Passed(Document("a.txt", PASSAGES["de"]))


@pytest.mark.parametrize(
    ("code", "meant"), [("jp", "ja"), ("EN", "en"), ("chinese", "zh"), ("zh_CN", "zh"), ("cz", "cs"), ("deu", "de")]
)
def test_a_code_that_is_none_is_refused_with_the_one_that_was_meant(code: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'") as refused:
        LanguageStep(LanguageOptions(languages=("en", code)))
    assert refused.value.where == "languages"
    assert refused.value.mend is not None


def test_a_code_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(ConfigError, match="is not a language"):
        check_language("klingon", where="drop_languages")


def test_the_step_travels_to_worker_processes() -> None:
    step = LanguageStep(LanguageOptions(languages=("ja",)))
    assert pickle.loads(pickle.dumps(step))(Document("a", PASSAGES["ja"])) == step(Document("a", PASSAGES["ja"]))


@given(st.text(max_size=2000))
def test_any_text_has_a_language_or_none_and_a_confidence_between_0_and_1(text: str) -> None:
    found = identify(text)
    assert found.language in KNOWN_LANGUAGES or found.language == "und"
    assert 0 <= found.confidence <= 1
    assert identify(text) == found


@pytest.mark.needs_shared
@pytest.mark.parametrize(("folder", "language"), [("squad", "en"), ("jaquad", "ja")])
def test_paragraphs_of_question_answering_sets_are_identified(folder: str, language: str) -> None:
    files = sorted((SHARED / folder).glob("*.json"))
    if not files:
        pytest.skip(f"no ../shared/data/{folder}")
    articles = [article for file in files for article in json.loads(file.read_text(encoding="utf-8"))["data"]]
    texts = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]][:600]
    right = sum((found := identify(text)).language == language and found.confidence >= 0.65 for text in texts)
    assert right >= 0.99 * len(texts)
