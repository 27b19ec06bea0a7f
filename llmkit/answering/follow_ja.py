"""Japanese questions that lean on the one before: それ and その, 「高さは？」, 「2012年は？」, subjects left unsaid."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LEAD = re.compile(r"(?:それでは|それじゃ(?:あ)?|では|じゃあ|じゃ|でも|また|そして|あと|ちなみに|なら)[、,]?\s*")
# A run that is not in hiragana is a noun, the い of 高い and the like apart; の joins nouns.
_NOUN = r"[^\u3041-\u3096\s、。，．？?！!「」『』（）()]+(?:さ|み(?=[のはがをにで]))?"
_CHAIN = re.compile(rf"{_NOUN}(?:の{_NOUN})*")
_PRONOUN = re.compile(
    r"(?:それ(?!ぞれ|から|で(?!は|も|す|しょ)|に(?:して|つれ)|とも)|これ(?!から|まで)|あれ(?!ば)|そこ(?!で)|彼女(?!ら)|彼ら|彼(?!女|ら|岸)"
    r"|その(?!ため|後|他|まま|うち|頃)|この(?!ため|頃|まま|後)|あの(?!頃))"
)
_WH = "いつ|どこ|誰|だれ|なぜ|どうして|どう|何|なに|なん|どの|いくつ|いくら|どれ|どんな"
_BARE = re.compile(rf"(?:{_WH})(?:ですか|でしょうか|なの|頃|ごろ)?")
_OPENS_WITH_WH = re.compile(rf"(?:{_WH})")
_FRAGMENT = re.compile(r"(.+?)(?:については|の場合は|の方は|だと|なら|は)?")
_YEAR = re.compile(r"\d+(?:年|月|日|世紀|時|回)?(?:代)?")
_ATTRIBUTE = re.compile(
    r".*(?:さ|み|数|年|名|者|理由|場所|方法|時期|値段|価格|意味|目的|歴史|人口|面積|住所|電話|時間|期限|費用|料金|特徴|原因|結果)$"
)
UNSAID = 24
"""Code points of a question at most that is taken to have left its subject unsaid."""


def follow(question: str, before: str, answer: str, earlier: Sequence[str] = ()) -> str:
    """The question with what it leans on, taken from the question before."""
    asked = question.strip()
    lead = _LEAD.match(asked)
    core = asked[lead.end() :] if lead else asked
    bare = core.rstrip(" ?？。!！")
    topic = _topic(before)
    if not topic or not bare:
        return question
    if _BARE.fullmatch(bare):
        return f"{before.strip().rstrip('?？。')}。{bare}？"
    if pronoun := _PRONOUN.search(core):
        whole = topic + "の" if pronoun.group() in ("その", "この", "あの") else topic
        return core[: pronoun.start()] + whole + core[pronoun.end() :]
    fragment = _FRAGMENT.fullmatch(bare)
    if fragment and (bare.endswith(("は", "だと", "なら")) or lead) and not _asks(bare):
        return _fragment(fragment[1], before, topic)
    if _OPENS_WITH_WH.match(core) and "は" not in core and len(core) <= UNSAID:
        return f"{topic}は{core}"
    return core if lead else question


def _fragment(noun: str, before: str, topic: str) -> str:
    new, old = _YEAR.match(unicodedata.normalize("NFKC", noun)), _YEAR.search(before)
    if new and old:
        return before[: old.start()] + noun + before[old.end() :]
    if _ATTRIBUTE.fullmatch(noun) or ("の" not in before and not _CHAIN.match(before.strip())):
        return f"{topic}の{noun}は？"
    head = topic.split("の")[0]
    return before.replace(head, noun, 1)


def _topic(text: str) -> str:
    """What a question is about: its first noun; of the height of something, that something."""
    chain = next((match for match in _CHAIN.finditer(text) if not _OPENS_WITH_WH.match(match.group())), None)
    if chain is None:
        return ""
    owners, _, last = chain.group().rpartition("の")
    return owners if owners and _ATTRIBUTE.fullmatch(last) else chain.group()


def _asks(text: str) -> bool:
    return bool(re.search(_WH, text)) or text.endswith("か")
