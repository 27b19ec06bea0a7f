import unicodedata

import pytest

from llmkit.text.scripts import UNSPACED_SCRIPTS, Script, script_counts, script_of


@pytest.mark.parametrize(
    ("char", "script"),
    [
        ("a", Script.LATIN),
        ("é", Script.LATIN),
        ("Ａ", Script.LATIN),
        ("я", Script.CYRILLIC),
        ("ω", Script.GREEK),
        ("ש", Script.HEBREW),
        ("ع", Script.ARABIC),
        ("ह", Script.INDIC),
        ("ท", Script.THAI),
        ("한", Script.HANGUL),
        ("ひ", Script.HIRAGANA),
        ("カ", Script.KATAKANA),
        ("ー", Script.KATAKANA),
        ("ｶ", Script.KATAKANA),
        ("漢", Script.HAN),
        ("々", Script.HAN),
        ("𠮷", Script.HAN),
        ("ա", Script.OTHER),
        ("7", Script.COMMON),
        ("、", Script.COMMON),
        ("・", Script.COMMON),
        (" ", Script.COMMON),
        ("🙂", Script.COMMON),
    ],
)
def test_each_character_has_its_script(char: str, script: Script) -> None:
    assert script_of(char) is script


def test_scripts_agree_with_the_names_unicode_gives_the_letters() -> None:
    """Oracle: the first word of a letter's Unicode name (the block names differ only for Han and Indic)."""
    named = {
        "LATIN": Script.LATIN,
        "GREEK": Script.GREEK,
        "CYRILLIC": Script.CYRILLIC,
        "HEBREW": Script.HEBREW,
        "ARABIC": Script.ARABIC,
        "THAI": Script.THAI,
        "LAO": Script.LAO,
        "MYANMAR": Script.MYANMAR,
        "KHMER": Script.KHMER,
        "HANGUL": Script.HANGUL,
        "HIRAGANA": Script.HIRAGANA,
        "KATAKANA": Script.KATAKANA,
        "CJK": Script.HAN,
    }
    wrong = []
    for code in range(0x10000):
        char = chr(code)
        word = unicodedata.name(char, "").partition(" ")[0]
        if char.isalpha() and word in named and script_of(char) not in (named[word], Script.OTHER):
            wrong.append((hex(code), word, script_of(char)))
    # Greek's block holds a few Coptic letters and Cyrillic's extensions lie elsewhere: none of them is misnamed here.
    assert wrong == []


def test_counts_leave_out_what_all_scripts_share() -> None:
    assert script_counts("2011年 is ok, はい。") == {Script.HAN: 1, Script.LATIN: 4, Script.HIRAGANA: 2}


def test_hangul_is_written_with_spaces() -> None:
    assert Script.HANGUL not in UNSPACED_SCRIPTS
