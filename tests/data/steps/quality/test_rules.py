import json
import pickle
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import QualityOptions
from llmkit.data.drops import Drop
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.quality.measures import measure
from llmkit.data.steps.quality.presets import PRESETS, RULES, Preset
from llmkit.data.steps.quality.rules import QualityStep, verdicts
from llmkit.data.steps.quality.words import Variant, variant_of
from llmkit.errors import ConfigError
from llmkit.text.document import Document

SHARED = Path(__file__).parents[4] / "shared" / "data"
PASSAGES: dict[str, str] = json.loads((Path(__file__).parent / "passages.json").read_text(encoding="utf-8"))
PROSE: tuple[Preset, ...] = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
ALL = QualityOptions(rules=PROSE)


def outcome(text: str, *rules: str, media: str = "text/plain", threshold: tuple[str, ...] = ()) -> Passed | Drop:
    options = QualityOptions(rules=rules or PROSE, threshold=threshold)  # type: ignore[arg-type]
    return QualityStep(options)(Document("a.txt", text, media))


def reason(text: str, *rules: str, media: str = "text/plain", threshold: tuple[str, ...] = ()) -> str:
    result = outcome(text, *rules, media=media, threshold=threshold)
    assert isinstance(result, Drop)
    assert result.step == "quality" and result.detail
    return result.reason


def broken(text: str, language: str | None = None) -> set[str]:
    return {verdict.rule for verdict in verdicts(measure(text, language), ALL) if not verdict.passed}


@pytest.mark.parametrize("language", sorted(set(PASSAGES) - {"hi"}))
@pytest.mark.parametrize("known", [True, False])
def test_running_text_in_any_script_passes_all_presets(language: str, known: bool) -> None:
    assert broken(PASSAGES[language], language if known else None) == set()


def test_hindi_passes_too_and_its_sentences_are_counted_by_their_dandas() -> None:
    assert broken(PASSAGES["hi"], "hi") == set()
    assert measure(PASSAGES["hi"], "hi").values["sentences"] > 5


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        (PASSAGES["en"], Variant.SPACED),
        (PASSAGES["he"], Variant.SPACED),
        (PASSAGES["zh"], Variant.CJK),
        (PASSAGES["ko"], Variant.KOREAN),
        (PASSAGES["th"], Variant.UNSPACED),
        ("", Variant.SPACED),
        (PASSAGES["en"] + "図書館", Variant.SPACED),
        (PASSAGES["ja"] + " the reading room", Variant.CJK),
    ],
)
def test_the_script_of_most_of_the_text_decides_the_variant(text: str, variant: Variant) -> None:
    assert variant_of(text) is variant


JAPANESE_MENU = "ホーム\n会社概要\n商品一覧\n採用情報\nお問い合わせ\nサイトマップ\n個人情報保護方針\n" * 3
JAPANESE_SPAM = "今すぐ無料で登録はこちらから！" * 60
CHINESE_LIST = "\n".join(f"第{i}章 下一页 返回目录 加入书签" for i in range(60))
KOREAN_SPAM = "지금 바로 무료 가입 하세요 여기를 클릭 하세요 " * 40
THAI_SPAM = "สมัครสมาชิกฟรีวันนี้คลิกที่นี่รับโบนัสทันที" * 40


@pytest.mark.parametrize("text", [JAPANESE_MENU, JAPANESE_SPAM, CHINESE_LIST, KOREAN_SPAM, THAI_SPAM])
def test_menus_and_repeated_advertising_fail_in_asian_scripts_too(text: str) -> None:
    assert broken(text)


def test_repetition_alone_throws_out_japanese_spam() -> None:
    assert reason(JAPANESE_SPAM, "gopher_repetition").startswith("gopher_repetition.top_")


def test_japanese_prose_with_many_dates_passes() -> None:
    text = (
        "1999年(平成11年)3月30日に竣工式を挙行し、7月8日に開館記念式典を行って町立図書館として開館した。蔵書は約4万5,000冊"
        "であり、2001年(平成13年)には6万冊を超えている。2005年(平成17年)1月1日の合併によって市立図書館の分館となった。"
    )
    assert broken(text * 1) <= {"c4.min_sentences"}


ENGLISH = PASSAGES["en"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Only a few words here.", "gopher_quality.min_words"),
        ("a b c d e f the to of I " * 12, "gopher_quality.min_mean_word_length"),
        ("The incomprehensibilities of internationalization " * 20, "gopher_quality.max_mean_word_length"),
        ("# the word of # a title # and that # " * 12, "gopher_quality.max_symbol_ratio"),
        ("\n".join(f"- the {word} of course" for word in ENGLISH.split()), "gopher_quality.max_bullet_lines"),
        (
            "\n".join(f"and so the {word} goes on quite far…" for word in ENGLISH.split()),
            "gopher_quality.max_symbol_ratio",
        ),
        ("\n".join(f"{ENGLISH[:90]} {i}..." for i in range(9)), "gopher_quality.max_ellipsis_lines"),
        ("the 1200 of 3400 and 5600 to 7800 " * 15, "gopher_quality.min_alpha_words"),
        ("cheap watches buy online discount store shipping " * 10, "gopher_quality.min_stop_words"),
    ],
)
def test_each_rule_of_gopher_drops_what_it_is_made_for(text: str, expected: str) -> None:
    assert reason(text, "gopher_quality") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n".join(f"item number {i} has no stop at all in its line" for i in range(20)), "fineweb.line_punct_ratio"),
        ("\n".join(f"Line {i} is short." for i in range(20)), "fineweb.short_line_ratio"),
        (f"{ENGLISH}\n{ENGLISH}", "fineweb.char_dup_ratio"),
        ("\n\n\n\n".join(f"This one is a line of {i} and eight words." for i in range(20)), "fineweb.new_line_ratio"),
        ("One sentence is not a page.", "c4.min_sentences"),
        (f"{ENGLISH}\nLorem ipsum dolor sit amet.", "c4.max_lorem_ipsum"),
        (f"{ENGLISH}\nWrite {{name}} where it belongs.", "c4.max_curly_brackets"),
    ],
)
def test_each_rule_of_fineweb_and_c4_drops_what_it_is_made_for(text: str, expected: str) -> None:
    assert reason(text, expected.split(".")[0]) == expected


def test_a_drop_tells_the_measured_value_and_the_threshold() -> None:
    drop = outcome("Twelve words are in this line, " * 2, "gopher_quality")
    assert isinstance(drop, Drop)
    assert drop.detail == "12 words, and at least 50 are asked for"
    drop = outcome(f"{ENGLISH}\n{ENGLISH}", "fineweb")
    assert isinstance(drop, Drop)
    assert drop.detail == "0.5 of the characters are in repeated lines, and at most 0.01 are allowed"


def test_c4_removes_lines_and_counts_them_and_the_text_keeps_its_paragraphs() -> None:
    text = f"Home | About\n{ENGLISH}\n\nThe end of the page is here now.\nShare this"
    result = outcome(text, "c4")
    assert isinstance(result, Passed)
    assert result.document.text == f"{ENGLISH}\n\nThe end of the page is here now."
    assert result.changes == {"c4.no_terminal_punctuation": 2}
    again = outcome(result.document.text, "c4")
    assert isinstance(again, Passed)
    assert (again.document.text, again.changes) == (result.document.text, {})


def test_a_language_without_a_list_of_function_words_is_not_held_to_one() -> None:
    swahili = (
        "Maktaba iliyo mwisho wa mtaa wetu hufunguliwa saa tatu asubuhi, lakini chumba cha kusomea hujaa baada ya "
        "chakula cha mchana. Wageni wengi wamekuja hapa kwa miaka mingi na wanajua kiti kipi kinapiga kelele. "
        "Wakati wa baridi moto huwashwa saa moja mapema. Mlinzi huweka birika la chai karibu na mlango. "
        "Hakuna anayewaambia wasome."
    )
    assert "stop_words" not in measure(swahili).values
    assert broken(swahili) == set()


def test_the_language_of_the_document_picks_the_function_words() -> None:
    step = QualityStep(QualityOptions(rules=("gopher_quality",)))
    german = Document("a", PASSAGES["de"], meta={"language": "de"})
    assert isinstance(step(german), Passed)
    called_english = step(Document("a", PASSAGES["de"], meta={"language": "en"}))
    assert isinstance(called_english, Drop)
    assert called_english.reason == "gopher_quality.min_stop_words"


def test_prose_is_not_held_to_rules_for_code_nor_code_to_those_for_prose() -> None:
    assert isinstance(outcome("x" * 2000, "code"), Passed)
    assert isinstance(outcome("x = 1\n", *PROSE, media="text/x-python"), Passed)


BASE64 = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2\n"
HEX = "    0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xba, 0xbe,\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = [" + "'abcdef', " * 40 + "]\ny = 1", "max_mean_line_length"),
        ("a = 1\n" * 50 + "b = '" + "word " * 210 + "'", "max_line_length"),
        ("=-=-+*/()[]\n" * 20, "min_alphanumeric"),
        ("x = 123456789012\n" * 20, "min_alphabetic"),
        ("# This file was generated by protoc. DO NOT EDIT.\n" + "def f(x): return x\n" * 9, "max_autogenerated"),
        (f"key = (\n{BASE64 * 10})", "max_encoded"),
        (f"data = [\n{HEX * 60}]\n" + "def name(): pass\n" * 400, "max_longest_encoded"),
        (
            "table = [\n" + "    [1.5e3, 22, -7, 1e-9, 4e4],\n" * 30 + "]\na_name = the_other_name\n" * 4,
            "max_numeric_lines",
        ),
    ],
)
def test_each_rule_for_code_drops_what_it_is_made_for(text: str, expected: str) -> None:
    judged = verdicts(measure(text, code=True), QualityOptions(rules=("code",)))
    assert f"code.{expected}" in {verdict.rule for verdict in judged if not verdict.passed}
    assert isinstance(outcome(text, "code", media="text/x-python"), Drop)


def test_modules_of_the_standard_library_pass_the_rules_for_code() -> None:
    names = ("textwrap.py", "json/decoder.py", "difflib.py", "argparse.py", "asyncio/tasks.py", "email/message.py")
    for name in names:
        source = (Path(sysconfig.get_path("stdlib")) / name).read_text(encoding="utf-8")
        assert isinstance(outcome(source, "code", media="text/x-python"), Passed), name


def test_letters_of_all_scripts_are_letters_in_code() -> None:
    values = measure("# 図書館の目録 9冊\n", code=True).values
    assert values["alphabetic"] == pytest.approx(7 / 12)
    assert values["alphanumeric"] == pytest.approx(8 / 12)


def test_thresholds_can_be_changed_for_documents_and_for_lines() -> None:
    text = "The house of the mouse and the cat that sat with it."
    assert reason(text, "gopher_quality") == "gopher_quality.min_words"
    assert isinstance(outcome(text, "gopher_quality", threshold=("gopher_quality.min_words=10",)), Passed)
    changed = outcome(f"{ENGLISH}\nno stop here at all", "c4", threshold=("c4.terminal_punctuation=0",))
    assert isinstance(changed, Passed)
    assert changed.changes == {}
    assert reason(ENGLISH, "c4", threshold=("c4.min_line_words=200",)) == "c4.min_sentences"


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ("gopher_quality.min_word=20", "did you mean 'gopher_quality.min_words'"),
        ("min_words=20", "did you mean 'gopher_quality.min_words'"),
        ("nonsense=20", "'nonsense' is no rule of quality$"),
        ("gopher_quality.min_words=many", "'many' is no threshold"),
        ("gopher_quality.min_words=nan", "'nan' is no threshold"),
        ("gopher_quality.min_words=-1", "'-1' is no threshold"),
        ("gopher_quality.min_words", "names no value"),
        ("c4.min_sentences=3", "not among the rules"),
    ],
)
def test_thresholds_that_cannot_be_are_refused_before_any_document(threshold: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        QualityStep(QualityOptions(rules=("gopher_quality",), threshold=(threshold,)))
    assert refused.value.mend is not None


def test_verdicts_name_every_rule_of_the_presets_and_not_only_the_first_broken_one() -> None:
    found = verdicts(measure("a b c", "en"), ALL)
    assert [verdict.rule for verdict in found] == [
        f"{preset}.{rule.name}" for preset in PROSE for rule in RULES[preset]
    ]
    assert len([verdict for verdict in found if not verdict.passed]) > 2
    assert all(verdict.passed == (verdict.rule not in broken("a b c", "en")) for verdict in found)


def test_every_rule_looks_at_a_measure_that_is_taken() -> None:
    taken = {**measure(ENGLISH, "en").values, **measure("x = 1", code=True).values}
    assert {rule.measure for rules in RULES.values() for rule in rules} == set(taken)


def test_no_rules_and_no_text_are_no_trouble() -> None:
    document = Document("a", "x")
    assert QualityStep(QualityOptions())(document) == Passed(document)
    assert all(value == 0 for value in measure("").values.values())
    assert isinstance(outcome("", "c4"), Drop)


def test_the_step_travels_to_worker_processes() -> None:
    step = QualityStep(QualityOptions(rules=PROSE, threshold=("c4.min_sentences=2",)))
    document = Document("a", ENGLISH)
    assert pickle.loads(pickle.dumps(step))(document) == step(document)


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("ab .\n。あกข한#…")), max_size=400), st.booleans())
def test_measures_of_any_text_are_numbers_and_shares_are_shares(text: str, code: bool) -> None:
    values = measure(text, "en", code=code).values
    for name, value in values.items():
        assert value >= 0
        if name.endswith(("_frac", "_lines", "alpha_words")) or name in (
            "line_punct_ratio",
            "char_dup_ratio",
            "encoded",
        ):
            assert value <= 1
    for preset in PRESETS:
        QualityStep(QualityOptions(rules=(preset,)))(Document("a", text, "text/x-python" if code else "text/plain"))


@pytest.mark.needs_shared
def test_articles_of_real_japanese_pass_all_presets_and_their_paragraphs_all_but_those_for_length() -> None:
    files = sorted((SHARED / "jaquad").glob("*.json"))
    if not files:
        pytest.skip("no ../shared/data/jaquad")
    articles = json.loads(files[0].read_text(encoding="utf-8"))["data"]
    texts = [[paragraph["context"] for paragraph in article["paragraphs"]] for article in articles]
    assert all(isinstance(outcome("\n\n".join(paragraphs)), Passed) for paragraphs in texts)
    every = [text for paragraphs in texts for text in paragraphs]
    allowed = {"c4.min_sentences", "gopher_quality.min_words"}
    assert sum(broken(text, "ja") <= allowed for text in every) >= 0.99 * len(every)
