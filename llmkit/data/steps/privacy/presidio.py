"""Microsoft's Presidio behind the same call as the rules: its recognisers of patterns, without a language model.

Presidio finds e-mail addresses, telephones (by Google's libphonenumber), IP addresses, cards, IBANs and US social
security numbers; the types it does not know are looked for by the rules. Its analyzer wants a spaCy pipeline for the
words around a find; a blank one, which needs no download, serves for that. Names and places are not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from llmkit.data.steps.privacy.match import PII_TYPES, Match, PiiType, apart
from llmkit.data.steps.privacy.patterns import find_pii
from llmkit.errors import UnavailableError

ENTITIES: Mapping[str, PiiType] = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip",
    "CREDIT_CARD": "credit_card",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
}
"""Presidio's names of what both know: https://microsoft.github.io/presidio/supported_entities/"""

_LANGUAGE = "en"
_PHONE_REGIONS = ("JP", "US", "GB", "DE", "FR", "IN", "CN", "KR")
_LEAST_SCORE = 0.4
"""Presidio gives a telephone without a word that announces it 0.4, and nine digits that may be a social security number
0.05."""
_PIECE = 100_000
"""Characters analysed at a time: spaCy keeps an object for every word."""


@dataclass(frozen=True)
class PresidioAnalyzer:
    """Presidio for the types it knows and the rules for the rest, as an `Analyzer`.

    Raises:
        UnavailableError: on its first call, if Presidio is not installed.
    """

    types: tuple[PiiType, ...] = PII_TYPES

    def __call__(self, text: str, *, code: bool) -> list[Match]:
        entities = [entity for entity, kind in ENTITIES.items() if kind in self.types]
        known = frozenset(ENTITIES.values())
        matches = find_pii(text, [kind for kind in self.types if kind not in known], code=code)
        if entities:
            engine = _engine()
            for start, piece in _pieces(text):
                found = engine.analyze(piece, _LANGUAGE, entities=entities, score_threshold=_LEAST_SCORE)
                matches += (_match(text, start, result) for result in found)
        return apart(matches)


def _match(text: str, offset: int, result: Any) -> Match:
    start, end = offset + result.start, offset + result.end
    return Match(ENTITIES[result.entity_type], start, end, text[start:end])


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Parts of at most `_PIECE` characters with their offsets, cut at line ends where there are any."""
    start = 0
    while start < len(text):
        end = min(len(text), start + _PIECE)
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield start, text[start:end]
        start = end


class _Words:
    """A blank spaCy pipeline whose lemmas are the words in lower case: Presidio looks for its context words in them."""

    def __init__(self, blank: Any) -> None:
        self._blank = blank
        self.vocab = blank.vocab

    def __call__(self, text: str) -> Any:
        document = self._blank(text)
        for token in document:
            token.lemma_ = token.lower_
        return document


@lru_cache(maxsize=1)
def _engine() -> Any:
    try:
        spacy = import_module("spacy")
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer import predefined_recognizers as recognisers
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError as error:
        raise UnavailableError(
            f"Presidio cannot be used: {error}", where="recogniser", mend="pip install 'llmkit[presidio]'"
        ) from error
    words = SpacyNlpEngine(models=[{"lang_code": _LANGUAGE, "model_name": "blank"}])
    words.nlp = {_LANGUAGE: _Words(spacy.blank(_LANGUAGE))}
    email = recognisers.EmailRecognizer()
    # As it is, it would fetch the list of public suffixes from the Internet; the copy in the package serves.
    suffixes = import_module("tldextract").TLDExtract(suffix_list_urls=())
    email.validate_result = lambda address: bool(suffixes(address).fqdn)
    registry = RecognizerRegistry(
        [
            email,
            recognisers.PhoneRecognizer(supported_regions=_PHONE_REGIONS),
            recognisers.IpRecognizer(),
            recognisers.CreditCardRecognizer(),
            recognisers.IbanRecognizer(),
            recognisers.UsSsnRecognizer(),
        ]
    )
    return AnalyzerEngine(registry=registry, nlp_engine=words, supported_languages=[_LANGUAGE])
