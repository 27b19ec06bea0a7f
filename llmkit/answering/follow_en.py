"""English questions that lean on the one before: pronouns, "and in 2012?", "what about Japan?", "why?"."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WH = "what|which|who|whom|whose|when|where|why|how"
_AUXILIARY = (
    "is|are|was|were|am|be|been|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must|isn't|aren't|"
    "wasn't|weren't|don't|doesn't|didn't|can't|won't"
)
_PREPOSITION = (
    "in|on|at|by|for|from|with|without|of|to|into|after|before|since|until|during|under|over|between|about|near"
)
_TAKES_A_VERB = re.compile(r"do|does|did|can|could|will|would|shall|should|may|might|must", re.IGNORECASE)
_TAKES_A_PARTICIPLE = re.compile(r"is|are|was|were|has|have|had|been", re.IGNORECASE)
_PARTICIPLE = re.compile(
    r"\w+ed|\w+en|built|made|born|found|kept|held|sold|sent|done|put|cut|set|lost|won|paid|read|known"
)
_OTHER = "and|or|but|that|than|as|if|there|not|so|it|they|he|she|i|you|we|my|me|your|them|him|her"
_STOP = re.compile(rf"(?:{_WH}|{_AUXILIARY}|{_PREPOSITION}|{_OTHER})", re.IGNORECASE)

_LEAD = re.compile(
    r"(?:ok(?:ay)?|so|well|and|or|but|also|then|what about|how about|what of)\b,?\s+"
    r"(?:(?:then|what about|how about)\s+)?",
    re.IGNORECASE,
)
_FULL = re.compile(rf"(?:{_WH}|{_AUXILIARY})\s+\S+\s+\S+", re.IGNORECASE)
_BARE = re.compile(rf"(?:{_WH})(?:\s+(?:exactly|else|not|come|so|many|much|often|long|then))?", re.IGNORECASE)
_FIRST_WH = re.compile(rf"(?:{_WH})\b(?:\s+(?:many|much|long|often|far|tall|big|old|deep|high|wide)\b)?", re.IGNORECASE)
_PREPOSITIONAL = re.compile(rf"({_PREPOSITION})\s+(.+)", re.IGNORECASE)
_FIGURE = re.compile(r"\b\d[\d.,]*\b")
_WORD = re.compile(r"[^\s,;:?!\"()]+")
_DETERMINER = re.compile(r"(?:the|a|an|this|that|these|those|my|our|its|their)", re.IGNORECASE)

_PERSON = re.compile(r"\b(he|she|him|her(?!\s+[a-z])|his|hers|her)\b", re.IGNORECASE)
_THING = re.compile(
    r"\b(it|its|they|them|their|theirs|(?:this|that|these|those)(?=\s*(?:\?|$|,|\w+\s*\?|(?:"
    + _AUXILIARY
    + r"|mean|work)s?\b)))\b"
    r"(?!')",
    re.IGNORECASE,
)
_POSSESSIVE = frozenset({"its", "their", "theirs", "his", "hers"})
_EMPTY_IT = re.compile(
    r"\bit\s+(?:(?:is|was)\s+)?(?:possible|necessary|true|safe|better|best|worth|rains?|snows?|takes?|matters?|seems?|that)\b"
    r"|\b(?:is|was)\s+it\s+(?:possible|necessary|true|safe|better|best|worth|that|raining|snowing|late|time)\b"
    r"|\b(?:does|did|will|would)\s+it\s+(?:take|rain|snow|matter)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Z][\w'’.-]*(?:\s+(?:(?:of|de|von|van|the)\s+)?[A-Z][\w'’.-]*)*")
ANTECEDENT_BEFORE = 3
"""So many words that carry a meaning before a pronoun, and it stands for something in its own question."""
CARRIES_ITSELF = 3
"""Words that carry a meaning, and a question is one by itself, whatever its "it" is."""


def leans(question: str) -> bool:
    """Whether a question still has a pronoun that stands for something outside of it."""
    return _pronoun(question) is not None


def follow(question: str, before: str, answer: str, earlier: Sequence[str] = ()) -> str:
    """The question with what it leans on, taken from the question before (or, for a person, from its answer).

    Args:
        earlier: questions before that one, the latest first; what they were about and it still names, it is about.
    """
    asked = question.strip()
    lead = _LEAD.match(asked)
    core = asked[lead.end() :] if lead else asked
    bare = core.rstrip(" ?!.")
    if _BARE.fullmatch(bare):
        return _with_wh(bare, before)
    if not _FULL.match(core) and (lead or _is_fragment(bare)) and _pronoun(core) is None:
        return _fragment(bare, before)
    topic = next((topic for topic in map(_topic, earlier) if topic and topic in before), _topic(before))
    return _resolved(_capital(core) if lead else asked, topic, _person(before, answer))


def _is_fragment(text: str) -> bool:
    """Without an opening word it must be short and hang on a preposition, to be taken for a part of a question."""
    return len(text.split()) <= 4 and _PREPOSITIONAL.match(text) is not None


def _with_wh(word: str, before: str) -> str:
    """ "Why?" after "When was the tower built?": "Why was the tower built?"."""
    first = _FIRST_WH.match(before.strip())
    rest = before.strip()[first.end() :] if first else f" {before.strip()[:1].lower()}{before.strip()[1:]}"
    return f"{_capital(word)}{rest}"


def _fragment(core: str, before: str) -> str:
    """The question before, with the part that the fragment is another one of; else both."""
    previous = before.strip()
    figure, old = _FIGURE.search(core), _FIGURE.search(previous)
    if figure and old and len(core.split()) <= 3:
        return previous[: old.start()] + figure.group() + previous[old.end() :]
    if hung := _PREPOSITIONAL.fullmatch(core):
        if place := _phrase_after(hung[1], previous, hung[2]):
            return previous[: place[0]] + hung[2] + previous[place[1] :]
        return f"{previous.rstrip(' ?')} {hung[1].lower()} {hung[2]}?"
    phrases = _phrases(previous)
    if not phrases:
        return f"{previous.rstrip(' ?')} {core}?"
    start, end = ([span for span in phrases if _shape(previous[slice(*span)]) == _shape(core)] or phrases)[-1]
    return previous[:start] + core + previous[end:]


def _shape(phrase: str) -> str:
    """Fragments stand for phrases of their own kind: a name for a name, "the cat" for "a dog", "cats" for "dogs"."""
    words = phrase.split()
    return "name" if _is_name(phrase) else "one" if _DETERMINER.fullmatch(words[0]) else "many"


def _phrase_after(preposition: str, text: str, noun: str) -> tuple[int, int] | None:
    """What the last such preposition of a text governs, if it is of the noun's kind."""
    matches = list(re.finditer(rf"\b{preposition}\s+", text, re.IGNORECASE))
    for match in reversed(matches):
        for start, end in _phrases(text):
            if start == match.end() and _shape(text[start:end]) == _shape(noun):
                return start, end
    return None


def _resolved(question: str, topic: str, person: str) -> str:
    match = _pronoun(question)
    if match is not None and _PERSON.fullmatch(match.group()):
        topic = person
    if not topic:
        return question
    if match is None:
        hangs = _EMPTY_IT.search(question) is not None and _carrying(question) < CARRIES_ITSELF
        return f"{question.rstrip(' ?')} ({topic})?" if hangs else question
    word = match.group().lower()
    owns = word in _POSSESSIVE or (word == "her" and question[match.end() :].strip(" ?!.") != "")
    said = f"{topic}{_genitive(topic)}" if owns else topic
    return _capital(question[: match.start()] + said + question[match.end() :])


def _pronoun(question: str) -> re.Match[str] | None:
    """The first pronoun that stands for something outside of the question."""
    empty = _EMPTY_IT.search(question)
    start = empty.end() if empty else 0
    found = _PERSON.search(question, start) or _THING.search(question, start)
    if found is None or (not empty and _carrying(question[: found.start()]) >= ANTECEDENT_BEFORE):
        return None
    return found


def _topic(text: str) -> str:
    """What a question is about: its first name or noun phrase, with what hangs on it by "of"."""
    phrases = _phrases(text)
    if not phrases:
        return ""
    start, end = phrases[0]
    for following in phrases[1:]:
        if text[end : following[0]].strip().lower() == "of":
            end = following[1]
    return text[start:end]


def _person(before: str, answer: str) -> str:
    """A name in the question before, else the first in its answer that the question has not."""
    names = [before[slice(*span)] for span in _phrases(before) if _is_name(before[slice(*span)])]
    if names and not re.match(r"\s*who", before, re.IGNORECASE):
        return re.sub(r"^[Tt]he\s+", "", names[0])
    found = (match.group().rstrip(".") for match in _NAME.finditer(answer))
    new = [name for name in found if name not in before and not _STOP.fullmatch(name.split()[0])]
    # One capitalised word may only be the first of its sentence.
    return next((name for name in new if " " in name), new[0] if new else "")


def _phrases(text: str) -> list[tuple[int, int]]:
    """Runs of words between function words; a name ends where words in lower case begin."""
    found: list[tuple[int, int]] = []
    run: list[re.Match[str]] = []
    behind = ""
    opening = _FIRST_WH.match(text)
    for match in [*_WORD.finditer(text, opening.end() if opening else 0), None]:
        word = match.group() if match else ""
        apart = bool(run) and match is not None and not text[run[-1].end() : match.start()].isspace()
        if match is None or apart or _STOP.fullmatch(word):
            found += _pieces(_without_verb(run, behind))
            run = []
            behind = word
        if match is not None and not _STOP.fullmatch(word):
            run.append(match)
    return found


def _without_verb(run: list[re.Match[str]], behind: str) -> list[re.Match[str]]:
    """ "does the okapi eat" names the okapi: after some words, a verb ends what they begin."""
    determined = bool(run) and _DETERMINER.fullmatch(run[0].group()) is not None
    if len(run) < 2 + determined:
        return run
    verb = _TAKES_A_VERB.fullmatch(behind) or (
        _TAKES_A_PARTICIPLE.fullmatch(behind) and _PARTICIPLE.fullmatch(run[-1].group())
    )
    return run[:-1] if verb else run


def _pieces(run: list[re.Match[str]]) -> list[tuple[int, int]]:
    """The noun phrases of a run: from a determiner on, or the name in it, else all of it."""
    for number, match in enumerate(run):
        if _DETERMINER.fullmatch(match.group()) and number + 1 < len(run):
            run = run[number:]
            break
    named = [n for n, match in enumerate(run) if match.group()[0].isupper()]
    if named:
        first = named[0] - 1 if named[0] and _DETERMINER.fullmatch(run[named[0] - 1].group()) else named[0]
        last = named[0]
        while last + 1 in named or (last + 1 < len(run) and run[last + 1].group()[0].isdigit()):
            last += 1
        return [(run[first].start(), run[last].end())]
    return [(run[0].start(), run[-1].end())] if run else []


def _is_name(phrase: str) -> bool:
    return any(word[:1].isupper() for word in phrase.split())


def _carrying(text: str) -> int:
    return sum(not _STOP.fullmatch(word) and not _DETERMINER.fullmatch(word) for word in _WORD.findall(text))


def _genitive(name: str) -> str:
    return "'" if name.endswith("s") else "'s"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
