"""The step of preprocessing that counts, replaces or drops personal data and secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from llmkit.config.sections import PrivacyOptions
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.places import carry_places
from llmkit.data.steps.privacy.match import Analyzer, Match, chosen_types
from llmkit.data.steps.privacy.patterns import PatternAnalyzer, fold
from llmkit.data.steps.privacy.phones import normal_phone
from llmkit.data.steps.privacy.presidio import PresidioAnalyzer
from llmkit.errors import UnavailableError
from llmkit.text.document import Document

_NOUNS = {
    "ip": "IP address",
    "iban": "IBAN",
    "us_ssn": "US SSN",
    "api_key": "API key",
    "url_credentials": "URL password",
}


@dataclass(frozen=True)
class PrivacyStep:
    """Treats each document as `options.pii` says: count, replace or drop. With `off` it lets everything through.

    `facts["pii"]` of what passes has the number of finds per type, and is absent where there were none; `changes` has
    the same numbers if they were replaced. The finds themselves are recorded nowhere.

    Raises:
        ConfigError: `options.pii_types` has a name that is no type.
        UnavailableError: Presidio is asked for and not installed.
    """

    options: PrivacyOptions
    analyzer: Analyzer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "analyzer", analyzer_for(self.options))

    def __call__(self, document: Document) -> Passed | Drop:
        if self.options.pii == "off":
            return Passed(document)
        matches = self.analyzer(document.text, code=is_code(document.media))
        if not matches:
            return Passed(document)
        counts: dict[str, int] = dict(Counter(match.type for match in matches))
        if self.options.pii == "drop":
            return Drop(document.source, "privacy", "pii", _in_words(counts), document.record)
        facts = {"pii": counts}
        if self.options.pii == "count":
            return Passed(document, facts=facts)
        text = replaced(document.text, matches, consistent=self.options.consistent)
        return Passed(carry_places(document, replace(document, text=text)), counts, facts)


def analyzer_for(options: PrivacyOptions) -> Analyzer:
    """The search that the options ask for.

    Raises:
        ConfigError: `options.pii_types` has a name that is no type.
        UnavailableError: Presidio is asked for and not installed.
    """
    types = chosen_types(options.pii_types)
    if options.recogniser == "patterns":
        return PatternAnalyzer(types)
    if find_spec("presidio_analyzer") is None:
        raise UnavailableError(
            "Presidio is not installed",
            where="recogniser",
            mend="pip install 'llmkit[presidio]', or recogniser: patterns",
        )
    return PresidioAnalyzer(types)


def replaced(text: str, matches: Sequence[Match], *, consistent: bool = False) -> str:
    """The text with each match as `<EMAIL>`, `<PHONE>` …; its line ends are kept, so that line numbers stay true.

    Args:
        text: the text in which the matches were found.
        matches: in order and apart.
        consistent: number the placeholders, `<EMAIL_1>`, `<EMAIL_2>`: one number for each distinct value of a type.
    """
    numbers: dict[tuple[str, str], int] = {}
    used: Counter[str] = Counter()
    pieces: list[str] = []
    position = 0
    for match in matches:
        name = match.type.upper()
        if consistent:
            key = (match.type, normal_value(match))
            if key not in numbers:
                used[match.type] += 1
                numbers[key] = used[match.type]
            name = f"{name}_{numbers[key]}"
        line_ends = "".join(char for char in match.value if char in "\r\n")
        pieces += text[position : match.start], f"<{name}>", line_ends
        position = match.end
    return "".join(pieces) + text[position:]


def normal_value(match: Match) -> str:
    """What two writings of one value share: case, width and division of numbers do not count."""
    value = fold(match.value)
    match match.type:
        case "phone":
            return normal_phone(value)
        case "email" | "ip":
            return value.casefold()
        case "credit_card" | "my_number" | "us_ssn" | "iban":
            return "".join(char for char in value if char.isalnum())
        case _:
            return value


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {_noun(kind)}{'s' * (count > 1)}" for kind, count in sorted(counts.items()))


def _noun(kind: str) -> str:
    return _NOUNS.get(kind, kind.replace("_", " "))
