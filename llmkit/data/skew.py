"""How often a text speaks of which people: counts of terms for gender, age, religion, ethnicity and nationality.

These are counts of words and nothing more. They do not say what is said of anybody, nor what a right share would be;
words have other senses ("Jordan" is a country and a name), and a language's grammar decides much (Japanese leaves
pronouns out). They show what a set holds far more of than its makers may have thought.

The axes are those that published analyses count by: pronouns and HolisticBias's descriptors of gender, religion,
nationality and ethnicity in the data of Llama 2 (Touvron et al. 2023, section 4.1, https://arxiv.org/abs/2307.09288;
Smith et al. 2022, https://arxiv.org/abs/2205.09209), gender, race and religion in GPT-3 (Brown et al. 2020, section
6.2, https://arxiv.org/abs/2005.14165) and in The Pile (Gao et al. 2020, https://arxiv.org/abs/2101.00027).
The pronouns are Llama 2's. The other terms, and all the Japanese ones, are usual words for the same groups that were
chosen here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

ENGLISH: Mapping[str, Mapping[str, str]] = {
    "gender": {
        "female": "she her hers herself woman women girl girls female females lady ladies mother mothers daughter "
        "daughters wife wives sister sisters aunt aunts grandmother grandmothers",
        "male": "he him his himself man men boy boys male males gentleman gentlemen father fathers son sons husband "
        "husbands brother brothers uncle uncles grandfather grandfathers",
        "neutral or other": "they them their theirs themselves themself nonbinary transgender genderqueer intersex",
    },
    "age": {
        "children": "child children kid kids baby babies infant infants toddler toddlers",
        "young people": "teenager teenagers teen teens adolescent adolescents youth youths",
        "adults": "adult adults grownup grownups",
        "old people": "elderly seniors pensioner pensioners retiree retirees",
    },
    "religion": {
        "Christianity": "christian christians christianity catholic catholics catholicism protestant protestants bible",
        "Islam": "muslim muslims islam islamic quran koran mosque mosques",
        "Judaism": "jew jews jewish judaism synagogue synagogues torah",
        "Buddhism": "buddhist buddhists buddhism buddha",
        "Hinduism": "hindu hindus hinduism",
        "Sikhism": "sikh sikhs sikhism",
        "Shinto": "shinto shintoism",
        "none": "atheist atheists atheism agnostic agnostics secularism",
    },
    "ethnicity": {
        "African": "african africans",
        "Arab": "arab arabs arabic",
        "Asian": "asian asians",
        "European": "european europeans caucasian caucasians",
        "Indigenous": "indigenous aboriginal aborigines inuit maori",
        "Latino": "latino latinos latina latinas latinx hispanic hispanics",
        "Romani": "romani",
    },
    "nationality": {
        "American": "america american americans usa",
        "Australian": "australia australian australians",
        "Brazilian": "brazil brazilian brazilians",
        "British": "britain british uk england scotland wales",
        "Canadian": "canada canadian canadians",
        "Chinese": "china chinese",
        "Egyptian": "egypt egyptian egyptians",
        "Ethiopian": "ethiopia ethiopian ethiopians",
        "French": "france french",
        "German": "germany german germans",
        "Indian": "india indian indians",
        "Indonesian": "indonesia indonesian indonesians",
        "Iranian": "iran iranian iranians",
        "Israeli": "israel israeli israelis",
        "Italian": "italy italian italians",
        "Japanese": "japan japanese",
        "Kenyan": "kenya kenyan kenyans",
        "Korean": "korea korean koreans",
        "Mexican": "mexico mexican mexicans",
        "Nigerian": "nigeria nigerian nigerians",
        "Pakistani": "pakistan pakistani pakistanis",
        "Philippine": "philippines philippine filipino filipinos filipina",
        "Russian": "russia russian russians",
        "Spanish": "spain spanish spaniard spaniards",
        "Turkish": "turkey turkish turks",
        "Ukrainian": "ukraine ukrainian ukrainians",
        "Vietnamese": "vietnam vietnamese",
    },
}
"""Axis -> group -> words, each of ASCII letters; they count where they stand as a whole word, in any case."""

JAPANESE: Mapping[str, Mapping[str, str]] = {
    "gender": {
        "female": "彼女 女性 女子 少女 女の子 女の人 婦人 母親 お母さん 夫人 姉妹 主婦 女児 女優 女王",
        "male": "彼 男性 男子 少年 男の子 男の人 紳士 父親 お父さん 兄弟 男児 男優 国王",
        "neutral or other": "トランスジェンダー ノンバイナリー 性的少数者",
    },
    "age": {
        "children": "子供 子ども 児童 幼児 赤ちゃん 乳児",
        "young people": "若者 青年 青少年 未成年 10代 十代",
        "adults": "大人 成人",
        "old people": "高齢者 老人 お年寄り 年寄り シニア",
    },
    "religion": {
        "Christianity": "キリスト教 キリスト教徒 クリスチャン カトリック プロテスタント 聖書",
        "Islam": "イスラム教 イスラム教徒 イスラーム イスラム ムスリム モスク コーラン",
        "Judaism": "ユダヤ教 ユダヤ教徒 ユダヤ人 ユダヤ",
        "Buddhism": "仏教 仏教徒 仏陀 ブッダ",
        "Hinduism": "ヒンドゥー教 ヒンドゥー教徒 ヒンズー教",
        "Sikhism": "シク教 シーク教",
        "Shinto": "神道",
        "none": "無神論 無神論者 無宗教",
    },
    "ethnicity": {
        "African": "アフリカ系 黒人 アフリカ人",
        "Arab": "アラブ人 アラブ系 アラブ",
        "Asian": "アジア人 アジア系",
        "European": "白人 欧米人 ヨーロッパ人",
        "Indigenous": "先住民 先住民族 アイヌ",
        "Latino": "ラテン系 ヒスパニック ラティーノ",
        "Romani": "ロマ人 ロマ民族",
    },
    "nationality": {
        "American": "アメリカ アメリカ人 米国 米国人",
        "Australian": "オーストラリア オーストラリア人 豪州",
        "Brazilian": "ブラジル ブラジル人",
        "British": "イギリス イギリス人 英国 英国人 イングランド スコットランド ウェールズ",
        "Canadian": "カナダ カナダ人",
        "Chinese": "中国 中国人 中国語",
        "Egyptian": "エジプト エジプト人",
        "Ethiopian": "エチオピア エチオピア人",
        "French": "フランス フランス人 フランス語",
        "German": "ドイツ ドイツ人 ドイツ語",
        "Indian": "インド インド人",
        "Indonesian": "インドネシア インドネシア人",
        "Iranian": "イラン イラン人",
        "Israeli": "イスラエル イスラエル人",
        "Italian": "イタリア イタリア人",
        "Japanese": "日本 日本人 日本語",
        "Kenyan": "ケニア ケニア人",
        "Korean": "韓国 韓国人 朝鮮 朝鮮人 北朝鮮",
        "Mexican": "メキシコ メキシコ人",
        "Nigerian": "ナイジェリア ナイジェリア人",
        "Pakistani": "パキスタン パキスタン人",
        "Philippine": "フィリピン フィリピン人",
        "Russian": "ロシア ロシア人 ロシア語",
        "Spanish": "スペイン スペイン人 スペイン語",
        "Turkish": "トルコ トルコ人",
        "Ukrainian": "ウクライナ ウクライナ人",
        "Vietnamese": "ベトナム ベトナム人",
    },
}
"""Axis -> group -> words; there are no spaces to end a word, so of several that fit the longest counts."""

_OTHER_WORDS = (
    "彼岸 彼方 彼処 彼是 彼此 姉妹都市 中国地方 中国山地 中国電力 中国新聞 西インド諸島 東インド会社 "
    "中央アメリカ 南アメリカ 北アメリカ ラテンアメリカ アメリカ大陸 日本海"
)
"""Longer Japanese words that hold a term and mean something else; what they cover is not counted."""

# All that a word does not go on over besides ASCII: general punctuation, Latin-1's signs, CJK and full-width forms. A
# letter such as é stays, so that "mené" does not count as "men".
_APART = re.compile(
    rb"(?:\xe2[\x80\x81][\x80-\xbf]|\xc2[\x80-\xbf]|[\xe3-\xed][\x80-\xbf]{2}|\xef[\xbc-\xbf][\x80-\xbf])+"
)
_FOLD = bytes(
    code + 32 if 65 <= code <= 90 else code if 97 <= code <= 122 or code >= 128 else 32 for code in range(256)
)
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc]")
_NO_KATAKANA = f"(?!{_KATAKANA.pattern})"
_JAPANESE_LETTER = re.compile("[\u3041-\u30ff\u4e00-\u9fff]")


class Group(NamedTuple):
    axis: str
    name: str


def count_terms(text: str) -> dict[str, int]:
    """How often each term of the tables is in `text`; absent ones are left out. Counts of several texts add up.

    Some 20 MB/s a core in either language: cheap enough to be always on.
    """
    folded = text.encode("utf-8", "replace")
    if not text.isascii():
        folded = _APART.sub(b" ", folded)
    words = Counter(folded.translate(_FOLD).split())
    found = {term: words[key] for key, term in _english_terms().items() if key in words}
    if _JAPANESE_LETTER.search(text):
        found.update(_count_japanese(text))
    return found


def groups_in(counts: Mapping[str, int]) -> dict[str, int]:
    """1 for each group, as `axis/group`, that one document's counts have a term of.

    Added up over documents it says how many of them mention a group, which one long document cannot dominate.
    """
    groups = term_groups()
    return {f"{group.axis}/{group.name}": 1 for group in sorted({groups[term] for term in counts})}


def summary(
    counts: Mapping[str, int], mentions: Mapping[str, int] | None = None, documents: int = 0
) -> dict[str, object]:
    """What the counts of a whole set come to, JSON-serialisable, the most frequent groups first.

    Args:
        counts: sums of `count_terms`.
        mentions: sums of `groups_in`, if they were made.
        documents: how many documents were counted.

    Returns:
        `{"documents", "axes": {axis: {"total", "groups": {group: {"count", "share", "documents"?, "terms": {term:
        count}}}}}}`: `total` and `count` are occurrences, `share` is of the axis's total, `terms` are the five most
        frequent. Groups without an occurrence are listed with 0, since that is a finding too.
    """
    groups = term_groups()
    by_group: dict[Group, Counter[str]] = {group: Counter() for group in dict.fromkeys(groups.values())}
    for term, count in counts.items():
        by_group[groups[term]][term] += count
    axes: dict[str, object] = {}
    for axis in ENGLISH:
        totals = {group: terms.total() for group, terms in by_group.items() if group.axis == axis}
        total = sum(totals.values())
        if not total:
            continue
        rows: dict[str, object] = {}
        for group, count in sorted(totals.items(), key=lambda item: (-item[1], item[0].name)):
            row: dict[str, object] = {"count": count, "share": count / total}
            if mentions is not None:
                row["documents"] = mentions.get(f"{axis}/{group.name}", 0)
            top = sorted(by_group[group].items(), key=lambda item: (-item[1], item[0]))[:5]
            rows[group.name] = {**row, "terms": dict(top)}
        axes[axis] = {"total": total, "groups": rows}
    return {"documents": documents, "axes": axes}


@cache
def term_groups() -> Mapping[str, Group]:
    """The group of every term, in both languages."""
    return {
        term: Group(axis, name)
        for table in (ENGLISH, JAPANESE)
        for axis, groups in table.items()
        for name, terms in groups.items()
        for term in terms.split()
    }


def _count_japanese(text: str) -> Counter[str]:
    """Terms, with those left out that are the end of a longer word in katakana, as インド is of マインド."""
    groups = term_groups()
    counts: Counter[str] = Counter()
    for match in _japanese_pattern().finditer(text):
        term, start = match.group(), match.start()
        if term in groups and not (start and _KATAKANA.match(term) and _KATAKANA.match(text, start - 1)):
            counts[term] += 1
    return counts


@cache
def _english_terms() -> Mapping[bytes, str]:
    return {term.encode(): term for term in term_groups() if term.isascii()}


@cache
def _japanese_pattern() -> re.Pattern[str]:
    terms = [*(term for term in term_groups() if not term.isascii()), *_OTHER_WORDS.split()]
    longest_first = sorted(terms, key=len, reverse=True)
    # A word in katakana goes on as long as katakana do: モスク is not in モスクワ.
    return re.compile("|".join(term + _NO_KATAKANA if _KATAKANA.match(term[-1]) else term for term in longest_first))
