import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.steps.quality.lines import LineRules, judge_lines
from llmkit.data.steps.quality.words import Variant

PAGE = """Home | About | Contact
The river rises in the hills north of the town.
Copyright 2020

Please enable JavaScript to see this page.
By going on you agree to our terms of use.
Read more...
It flows past the mill, where children swim.[12][3]
Too short.
"There it is," she said, and "it is deep."
Nobody knows how deep"""


def kept(text: str, rules: LineRules | None = None, variant: Variant = Variant.SPACED) -> list[int]:
    return judge_lines(text.split("\n"), rules or LineRules(), variant).lines


def test_lines_stay_that_end_as_sentences_do_and_are_about_something() -> None:
    assert kept(PAGE) == [1, 7, 9]
    judged = judge_lines(PAGE.split("\n"), LineRules(), Variant.SPACED)
    assert judged.removed == {"no_terminal_punctuation": 4, "few_words": 1, "javascript": 1, "policy": 1}


def test_the_thresholds_of_lines_can_be_changed() -> None:
    assert 10 in kept(PAGE, LineRules(terminal=False))
    assert kept("One two.\nOne two three four.", LineRules(min_words=2)) == [0, 1]
    assert kept("One two.\nOne two three four.", LineRules(min_words=5)) == []
    assert kept(f"A {'x' * 1001} b.\nA {'x' * 1000} b.") == [1]


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("川は町の北の丘から流れてくる。", Variant.CJK),
        ("「深いね」と彼女は言った」", Variant.CJK),
        ("這條河從北邊的山上流下來嗎？", Variant.CJK),
        ("강은 마을 북쪽 언덕에서 시작된다.", Variant.KOREAN),
        ("هل ينبع النهر من التلال؟", Variant.SPACED),
        ("नदी पहाड़ों से निकलती है।", Variant.SPACED),
        ("“Curly quotes close a sentence as well.”", Variant.SPACED),
    ],
)
def test_sentences_end_in_other_scripts_too(text: str, variant: Variant) -> None:
    assert kept(text, variant=variant) == [0]


def test_a_paragraph_without_spaces_is_not_an_overlong_word() -> None:
    assert kept("川は流れる。" * 300, variant=Variant.CJK) == [0]


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("Mr. Smith met Dr. J. Jones at 3.5 km from St. Ives.", 1),
        ('He came. She went! "Why?" Nobody knew... But then it rained.', 5),
        ("雨が降った。風が吹いた！「なぜ？」と聞いた。", 3),
        ("बारिश हुई। हवा चली। सब घर गए।", 3),
        ("Go to example.com or e.g. there now.", 1),
    ],
)
def test_sentences_are_counted(line: str, sentences: int) -> None:
    assert judge_lines([line], LineRules(min_words=0), Variant.SPACED).sentences == sentences


def test_placeholder_text_and_curly_brackets_are_counted_in_lines_that_stay() -> None:
    lines = [
        "Lorem ipsum dolor sit amet.",
        "Use { braces } in a line.",
        "function f() { return }",
        "JavaScript uses { a lot.",
    ]
    judged = judge_lines(lines, LineRules(), Variant.SPACED)
    assert (judged.lorem_ipsum, judged.curly_brackets, judged.lines) == (1, 1, [0, 1])


@pytest.mark.parametrize(
    "line", ["[1]" * 50_000 + "a[b]", "." * 200_000 + "a.", "。" * 200_000, '."' * 100_000, "[" * 200_000 + "]"]
)
def test_hostile_lines_take_no_longer_than_others(line: str) -> None:
    judge_lines([line], LineRules(terminal=False, min_words=0, max_word_length=1e9), Variant.SPACED)
    judge_lines([line], LineRules(), Variant.SPACED)


@given(st.text(), st.sampled_from([Variant.SPACED, Variant.CJK, Variant.KOREAN, Variant.UNSPACED]))
def test_every_line_that_is_not_blank_stays_or_is_counted(text: str, variant: Variant) -> None:
    lines = text.split("\n")
    judged = judge_lines(lines, LineRules(), variant)
    assert judged.lines == sorted(set(judged.lines))
    assert len(judged.lines) + sum(judged.removed.values()) == sum(bool(line.strip()) for line in lines)
    assert judge_lines([lines[i] for i in judged.lines], LineRules(), variant).lines == list(range(len(judged.lines)))
