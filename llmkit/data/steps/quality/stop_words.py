"""The commonest function words of languages: running text has them, lists of keywords and menus do not."""

from __future__ import annotations

from collections.abc import Mapping

from llmkit.data.steps.quality.words import Variant

STOP_WORDS: Mapping[str, tuple[str, ...]] = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "ar": ("في", "من", "على", "إلى", "أن", "عن", "مع", "التي", "هذا", "ما", "لا", "كان"),
    "cs": ("a", "v", "se", "na", "je", "že", "s", "z", "do", "to"),
    "da": ("og", "i", "at", "det", "en", "til", "er", "som", "på", "de", "af"),
    "de": ("der", "die", "und", "in", "den", "von", "zu", "das", "mit", "sich", "ist", "nicht"),
    "el": ("και", "το", "η", "ο", "του", "της", "να", "την", "με", "για", "που"),
    "es": ("de", "la", "que", "el", "en", "y", "a", "los", "se", "del", "las", "un", "por", "con"),
    "fa": ("و", "در", "به", "از", "که", "این", "را", "با", "است", "برای"),
    "fi": ("ja", "on", "ei", "että", "se", "oli", "hän", "kun", "mutta", "tai"),
    "fr": ("de", "la", "le", "et", "les", "des", "en", "un", "une", "du", "que", "est", "pour"),
    "he": ("של", "את", "על", "לא", "הוא", "היא", "זה", "עם", "כי", "גם", "או", "כל"),
    "hi": ("के", "में", "की", "है", "का", "और", "से", "को", "पर", "ने", "यह"),
    "hu": ("a", "az", "és", "hogy", "nem", "is", "egy", "ez", "van", "volt"),
    "id": ("yang", "dan", "di", "dari", "untuk", "dengan", "ini", "pada", "itu", "dalam"),
    "it": ("di", "e", "il", "la", "che", "in", "un", "per", "del", "non", "una", "con", "sono"),
    "nl": ("de", "het", "een", "van", "en", "in", "is", "dat", "op", "te", "met", "voor"),
    "no": ("og", "i", "det", "en", "er", "som", "på", "til", "av", "for", "at", "med"),
    "pl": ("w", "i", "na", "z", "się", "nie", "do", "to", "że", "jest", "o", "od"),
    "pt": ("de", "a", "o", "que", "e", "do", "da", "em", "um", "para", "com", "uma", "os"),
    "ro": ("de", "și", "în", "la", "a", "cu", "pe", "o", "din", "care", "nu"),
    "ru": ("в", "и", "на", "не", "что", "с", "по", "к", "из", "у", "как", "за", "от"),
    "sv": ("och", "i", "att", "det", "en", "som", "på", "är", "av", "för", "med", "till"),
    "tr": ("ve", "bir", "bu", "da", "de", "için", "ile", "olarak", "çok", "daha"),
    "uk": ("в", "і", "на", "не", "що", "з", "у", "до", "та", "за", "від", "як"),
    "vi": ("và", "của", "là", "có", "trong", "được", "cho", "các", "một", "với", "không"),
    "ja": ("の", "に", "を", "は", "が", "と", "で", "た", "て", "も"),
    "zh": ("的", "是", "在", "了", "有", "和", "不", "為", "为", "與", "与", "我", "他", "也", "而"),
    "ko": ("의", "다", "는", "에", "을", "은", "를", "고", "가", "한", "하"),
    "th": ("ที่", "และ", "ของ", "เป็น", "ใน", "มี", "การ", "ได้", "ว่า", "จะ"),
    "lo": ("ທີ່", "ແລະ", "ຂອງ", "ເປັນ", "ໃນ", "ມີ", "ການ", "ໄດ້"),
    "km": ("និង", "ជា", "នៅ", "ក្នុង", "បាន", "មាន", "ដែល", "ការ"),
    "my": ("သည်", "၏", "တွင်", "များ", "နှင့်", "ကို", "မှ", "က"),
}
"""English: the list of Rae et al. 2021, appendix A.1.1. The others: articles, prepositions, conjunctions, particles and
forms of "to be" at the head of each language's word frequencies, as FineWeb2 does it
(https://github.com/huggingface/fineweb-2/tree/main/configs)."""

ENGLISH = "en"

WITHIN_WORDS: Mapping[Variant, tuple[str, ...]] = {
    Variant.CJK: ("ja", "zh"),
    Variant.KOREAN: ("ko",),
    Variant.UNSPACED: ("th", "lo", "km", "my"),
}
"""Languages whose function words are written against other words, so that they are looked for in the text itself."""


def stop_words_within(text: str, variant: Variant) -> int:
    """How many different function words a text without spaces (or a Korean one) has, in the language that fits best."""
    return max(sum(word in text for word in STOP_WORDS[language]) for language in WITHIN_WORDS[variant])


def stop_words_among(vocabulary: set[str], language: str) -> int:
    """How many different function words of `language` are in a set of words, in lower, title or upper case."""
    return sum(
        word in vocabulary or word.capitalize() in vocabulary or word.upper() in vocabulary
        for word in STOP_WORDS[language]
    )
