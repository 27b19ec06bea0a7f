"""Which language a document is in: decided by its script where the script decides, else by py3langid.

py3langid (https://github.com/adbar/py3langid) is a naive Bayes classifier over byte n-grams, after Lui and Baldwin
2012 (https://aclanthology.org/P12-3005/). It reads every byte, so it is given a sample of bounded length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np

from llmkit.config.sections import LanguageOptions
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.steps.passed import Passed
from llmkit.errors import ConfigError, closest
from llmkit.text.document import Document
from llmkit.text.scripts import Script, script_of

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNDETERMINED = "und"
"""ISO 639-2's code for a text whose language cannot be told, such as one of figures or of two words."""

_CODES = """
    af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr
    ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc om
    or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh
    yo zh zu
"""
KNOWN_LANGUAGES: frozenset[str] = frozenset(_CODES.split())
"""The ISO 639-1 codes that can be found; the model's few others have no such code and are not asked for."""

_MEANT: Mapping[str, str] = {
    "jp": "ja", "jpn": "ja", "japanese": "ja", "cn": "zh", "zho": "zh", "cmn": "zh", "zh-cn": "zh", "zh-tw": "zh",
    "zh-hans": "zh", "zh-hant": "zh", "chinese": "zh", "kr": "ko", "kor": "ko", "korean": "ko", "eng": "en",
    "uk-ua": "uk", "en-us": "en", "en-gb": "en", "english": "en", "us": "en", "gb": "en", "deu": "de", "ger": "de",
    "german": "de", "fra": "fr", "fre": "fr", "french": "fr", "spa": "es", "spanish": "es", "por": "pt",
    "pt-br": "pt", "portuguese": "pt", "ita": "it", "italian": "it", "rus": "ru", "russian": "ru", "ara": "ar",
    "arabic": "ar", "tha": "th", "thai": "th", "gr": "el", "greek": "el", "iw": "he", "hebrew": "he", "hindi": "hi",
    "vn": "vi", "vietnamese": "vi", "ua": "uk", "ukrainian": "uk", "cz": "cs", "czech": "cs", "dk": "da",
    "danish": "da", "nb": "no", "norwegian": "no", "dutch": "nl", "polish": "pl", "swedish": "sv", "turkish": "tr",
    "finnish": "fi",
}  # fmt: skip
"""What people write who mean another code: country codes, ISO 639-2 codes, names."""

_SAMPLE_PIECE = 100
"""Characters taken from the beginning, the middle and the end of a text that is longer than three such pieces.

Measured on the paragraphs of SQuAD (English) and JaQuAD (Japanese) and on a novel: pieces of 100, 150, 250, 400 and 700
all find the language of every text, and the time grows with the piece. Three places are for documents that begin with
a menu or end with a bibliography.
"""
_FEWEST_LETTERS = 20
"""Letters below which a guess by the model is worth little: its errors are among titles and names."""
_FEWEST_LETTERS_BY_SCRIPT = 4

_LANGUAGE_OF_SCRIPT: Mapping[Script, str] = {
    Script.HIRAGANA: "ja",
    Script.KATAKANA: "ja",
    Script.HANGUL: "ko",
    Script.THAI: "th",
    Script.LAO: "lo",
    Script.MYANMAR: "my",
    Script.KHMER: "km",
    Script.GREEK: "el",
    Script.HEBREW: "he",
}
"""Scripts that, among the known languages, one language writes."""

_EAST_ASIAN = frozenset({Script.HAN, Script.HIRAGANA, Script.KATAKANA})
_DENSE = _EAST_ASIAN | {Script.HANGUL}
_DENSITY = 2
"""One character of these scripts says about as much as two letters of an alphabet: the English passage of our tests has
2.0 to 2.8 times the characters of its translations into Japanese, Chinese and Korean."""

_LEAST_KANA = 0.03
"""Share of kana among kana and Han from which a text is Japanese. Statutes, with the most kanji, have a multiple of it;
Chinese texts that quote a Japanese title have less."""
_LEAST_JAPANESE_HAN = 0.02
# Forms that only Japanese uses (kokuji, and shinjitai that are neither the traditional nor the simplified form).
_JAPANESE_HAN = frozenset(
    "円図発経気価実対応済総験黒広拡転仏伝浄両児帰沢駅検権観歓読売変単団戦銭酔粋桜栄営労覚覧効勧渋渉摂釈働込峠畑枠"
    "匂払塀様県択訳豊竜滝稲徳恵専従縦繊続絵縄鉄鉱関駆騒髄齢"
)
_SURE_SHARE = 2 / 3
"""Share of the text in its main script from which that script's language is sure: technical Japanese is full of Latin
names. Below, the confidence falls in proportion."""
_LEAST_SHARE_OF_MIX = 0.2


@dataclass(frozen=True)
class Identified:
    """What was found out about a text's language.

    Attributes:
        language: ISO 639-1 code of the dominant language, or `UNDETERMINED`.
        confidence: 0 to 1; the model's probability, or how surely the script decides.
        candidates: every language worth naming with its probability, the best first.
        mixed: languages in other scripts that hold a good part of the text, by size.
    """

    language: str
    confidence: float
    candidates: tuple[tuple[str, float], ...] = ()
    mixed: tuple[str, ...] = ()

    def certainty(self, languages: Iterable[str]) -> float:
        """Probability that the text is in one of `languages`."""
        wanted = frozenset(languages)
        return sum(probability for language, probability in self.candidates if language in wanted)


@dataclass(frozen=True)
class LanguageStep:
    """Find each document's language, and drop those in languages that are not wanted.

    Facts: `language` (ISO 639-1; "" for source code; `und` where it cannot be told), `confidence`, and
    `languages_mixed` where other languages hold a good part of the text. Reasons: `other_language`, `low_confidence`
    (both only where languages are asked for) and `dropped_language`.

    Raises:
        ConfigError: a language of the options is none that can be found.
    """

    options: LanguageOptions = field(default_factory=LanguageOptions)

    def __post_init__(self) -> None:
        for name in ("languages", "drop_languages"):
            for code in getattr(self.options, name):
                check_language(code, where=name)
        if both := sorted(set(self.options.languages) & set(self.options.drop_languages)):
            raise ConfigError(f"{', '.join(both)}: to be kept and to be dropped", where="languages", mend="choose one")

    def __call__(self, document: Document) -> Passed | Drop:
        options = self.options
        if not (options.identify or options.languages or options.drop_languages):
            return Passed(document)
        if is_code(document.media):
            return Passed(document, facts={"language": "", "confidence": 1.0})
        found = identify(document.text)
        refused = self._refused(found)
        if refused:
            return Drop(document.source, "language", *refused, document.record)
        facts: dict[str, object] = {"language": found.language, "confidence": round(found.confidence, 4)}
        if found.mixed:
            facts["languages_mixed"] = list(found.mixed)
        return Passed(document, facts=facts)

    def _refused(self, found: Identified) -> tuple[str, str] | None:
        """Reason and detail, or None where the document stays."""
        options = self.options
        if found.language in options.drop_languages:
            return "dropped_language", f"'{found.language}' with confidence {found.confidence:.2f}"
        if not options.languages:
            return None
        certainty, wanted = found.certainty(options.languages), ", ".join(options.languages)
        if found.language in options.languages:
            if certainty >= options.confidence:
                return None
            return (
                "low_confidence",
                f"{wanted} with confidence {certainty:.2f}, and {options.confidence:g} is asked for",
            )
        # Two wanted languages can be likelier together than the one that is the likeliest alone.
        if certainty >= max(options.confidence, 0.5):
            return None
        if found.language == UNDETERMINED:
            return "low_confidence", f"too few letters to tell, and {wanted} asked for"
        return "other_language", f"'{found.language}' with confidence {found.confidence:.2f}, not {wanted}"


def check_language(code: str, *, where: str) -> None:
    """Raise a `ConfigError` that names the closest code unless `code` can be found by `identify`."""
    if code in KNOWN_LANGUAGES:
        return
    meant = _MEANT.get(code.lower().replace("_", "-")) or (code.lower() if code.lower() in KNOWN_LANGUAGES else None)
    hint = f"; did you mean '{meant}'?" if meant else closest(code, KNOWN_LANGUAGES)
    raise ConfigError(
        f"'{code}' is not a language that can be identified{hint}",
        where=where,
        mend="Give ISO 639-1 codes, such as en, ja, zh or de.",
    )


def identify(text: str) -> Identified:
    """The dominant language of a text, from a sample of at most about 300 characters; deterministic."""
    sample = _sample(text)
    weights = _weights(sample)
    letters = sum(weights.values())
    if not letters:
        return Identified(UNDETERMINED, 0.0)
    groups = _by_group(weights)
    (main, weight), *others = groups.most_common()
    language, confidence, candidates = _of_group(main, sample, weights, alone=len(groups) == 1)
    if language == UNDETERMINED:
        return Identified(UNDETERMINED, 0.0)
    if main in _LANGUAGE_OF_SCRIPT or main is Script.HAN:
        sure = min(1.0, weight / letters / _SURE_SHARE)
        confidence *= sure
        candidates = tuple((name, probability * sure) for name, probability in candidates)
    large = [group for group, size in others if size >= _LEAST_SHARE_OF_MIX * letters]
    mixed = (_of_group(group, sample, weights, alone=False)[0] for group in large)
    return Identified(language, confidence, candidates, tuple(m for m in mixed if m not in (UNDETERMINED, language)))


def _sample(text: str) -> str:
    if len(text) <= 3 * _SAMPLE_PIECE:
        return text
    middle = (len(text) - _SAMPLE_PIECE) // 2
    return "\n".join((text[:_SAMPLE_PIECE], text[middle : middle + _SAMPLE_PIECE], text[-_SAMPLE_PIECE:]))


_script = lru_cache(maxsize=8192)(script_of)


def _weights(sample: str) -> Counter[Script]:
    """How much text each script holds, in letters of an alphabet."""
    weights: Counter[Script] = Counter()
    for char, count in Counter(sample).items():
        script = _script(char)
        if script is not Script.COMMON:
            weights[script] += count * (_DENSITY if script in _DENSE else 1)
    return weights


def _by_group(weights: Counter[Script]) -> Counter[Script]:
    """The weights with kana and Han, which Japanese mixes, as one: under `HAN`."""
    groups: Counter[Script] = Counter()
    for script, weight in weights.items():
        groups[Script.HAN if script in _EAST_ASIAN else script] += weight
    return groups


def _of_group(
    group: Script, sample: str, weights: Counter[Script], *, alone: bool
) -> tuple[str, float, tuple[tuple[str, float], ...]]:
    """Language, confidence and candidates of the part of the sample that is in one group of scripts."""
    letters = weights[group] if group is not Script.HAN else sum(weights[script] for script in _EAST_ASIAN)
    known = _LANGUAGE_OF_SCRIPT.get(group)
    if group is Script.HAN:
        known = _by_kana(weights) or _by_han(sample)
    if known:
        return (known, 1.0, ((known, 1.0),)) if letters >= _FEWEST_LETTERS_BY_SCRIPT else (UNDETERMINED, 0.0, ())
    if letters < (_FEWEST_LETTERS_BY_SCRIPT if group is Script.HAN else _FEWEST_LETTERS):
        return UNDETERMINED, 0.0, ()
    candidates = _by_model(sample if alone else _only(sample, group))
    if group is Script.HAN:
        # Without kana the model knows of more than these two; a text of Han characters is in one of them.
        candidates = tuple((name, p) for name, p in candidates if name in ("zh", "ja")) or (("zh", 0.5),)
    if not candidates or candidates[0][0] not in KNOWN_LANGUAGES:
        return UNDETERMINED, 0.0, ()
    return *candidates[0], candidates


def _by_kana(weights: Counter[Script]) -> str | None:
    kana = weights[Script.HIRAGANA] + weights[Script.KATAKANA]
    return "ja" if kana >= _LEAST_KANA * (kana + weights[Script.HAN]) and kana else None


def _by_han(sample: str) -> str | None:
    """Japanese without kana (names, titles, addresses) shows in its own forms of characters."""
    han = [char for char in sample if _script(char) is Script.HAN]
    own = sum(char in _JAPANESE_HAN for char in han)
    return "ja" if own and own >= _LEAST_JAPANESE_HAN * len(han) else None


def _only(sample: str, group: Script) -> str:
    """The sample without letters of other scripts: a quotation in kana outweighs a page of English in the model."""
    kept = _EAST_ASIAN if group is Script.HAN else {group}
    return "".join(char for char in sample if (script := _script(char)) is Script.COMMON or script in kept)


_NOTHING_BELOW = 0.01
_NO_DOUBT = 0.99
"""Of 5,872 English texts (abstracts, articles, fiction) 79% reach it by their middle third, all as English."""


def _by_model(sample: str) -> tuple[tuple[str, float], ...]:
    """Languages with their probabilities. A third of a long sample is enough where it leaves no doubt."""
    if len(sample) >= 2 * _SAMPLE_PIECE:
        third = len(sample) // 3
        language, probability = cast(tuple[str, float], _model().classify(sample[third : 2 * third]))
        if probability >= _NO_DOUBT and language in KNOWN_LANGUAGES:
            return ((language, probability),)
    return _ranked(sample)


def _ranked(sample: str) -> tuple[tuple[str, float], ...]:
    ranked = cast(list[tuple[str, float]], _model().rank(sample))
    return tuple((language, probability) for language, probability in ranked if probability >= _NOTHING_BELOW)


@cache
def _model() -> LanguageIdentifier:
    """The model that comes with py3langid: about a second and 160 MB, once a process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # zxx, "no linguistic content", stays: figures and codes would else be called somebody's language.
    model.set_languages([*sorted(KNOWN_LANGUAGES), "zxx"])
    # It comes in half precision, a column after the other; so, a text's few rows are read 2.4 times as fast.
    model.nb_ptc = np.ascontiguousarray(model.nb_ptc, dtype=np.float32)
    return model
