"""Check digits and ranges: what tells a real number of a kind from any other digits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# First digits and lengths of the card networks, ISO/IEC 7812: https://en.wikipedia.org/wiki/Payment_card_number
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({13, 16, 19})),  # Visa
    (51, 55, frozenset({16})),  # Mastercard
    (2221, 2720, frozenset({16})),
    (34, 34, frozenset({15})),  # American Express
    (37, 37, frozenset({15})),
    (300, 305, frozenset({14})),  # Diners Club
    (36, 36, frozenset({14})),
    (38, 39, frozenset({14})),
    (3528, 3589, frozenset({16, 17, 18, 19})),  # JCB
    (6011, 6011, frozenset({16, 17, 18, 19})),  # Discover
    (644, 649, frozenset({16, 17, 18, 19})),
    (65, 65, frozenset({16, 17, 18, 19})),
    (62, 62, frozenset({16, 17, 18, 19})),  # UnionPay
)

# Total length by country: SWIFT IBAN registry, release 99, https://www.swift.com/resource/iban-registry-pdf
IBAN_LENGTHS: Mapping[str, int] = {
    country: int(length)
    for length, countries in {
        "15": "NO",
        "16": "BE",
        "18": "DK FK FI FO GL NL SD",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH HR LI LV",
        "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HN HU LB NI PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU YE",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
    for country in countries.split()
}

# Printed in advertisements, and on the card of a wallet's packaging; never anybody's.
_PUBLISHED_SSN = frozenset({"078051120", "219099999", "457555462"})


def is_card_number(digits: str) -> bool:
    """Whether digits have a network's prefix and length, and satisfy Luhn's formula (ISO/IEC 7812-1, annex B)."""
    return any(
        low <= int(digits[: len(str(low))]) <= high for low, high, lengths in _ISSUERS if len(digits) in lengths
    ) and luhn(digits)


def luhn(digits: str) -> bool:
    """Luhn's formula: every second digit from the right is doubled, and the sum of all digits is a multiple of ten."""
    total = sum(map(int, digits[-1::-2])) + sum(_LUHN_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def is_iban(value: str) -> bool:
    """Whether letters and digits without spaces have their country's length and a remainder of 1 modulo 97.

    ISO 13616-1; the arithmetic is ISO 7064 MOD 97-10, letters counting from A = 10.
    """
    if len(value) != IBAN_LENGTHS.get(value[:2]):
        return False
    return int("".join(str(int(char, 36)) for char in value[4:] + value[:4])) % 97 == 1


def is_us_ssn(digits: str) -> bool:
    """Whether nine digits can be a US social security number.

    Area, group and serial are never all zeros; areas 666 and 900 to 999 were never given out:
    https://www.ssa.gov/employer/randomization.html
    """
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    given_out = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
    return given_out and digits not in _PUBLISHED_SSN


def is_my_number(digits: str) -> bool:
    """Whether twelve digits end in the check digit of a Japanese Individual Number (個人番号, "My Number").

    Article 5 of the ordinance no. 85 of 2014 of the Ministry of Internal Affairs and Communications: with P(n) the
    n-th of the first eleven digits counted from the right, and Q(n) = n + 1 up to n = 6 and n - 5 from n = 7, the
    check digit is 11 - (sum of P(n) Q(n) mod 11), or 0 where that remainder is 0 or 1.
    One repeated digit is nobody's number.
    """
    total = sum(int(p) * (n + 1 if n <= 6 else n - 5) for n, p in enumerate(digits[10::-1], start=1))
    remainder = total % 11
    check = 0 if remainder <= 1 else 11 - remainder
    return len(digits) == 12 and int(digits[-1]) == check and len(set(digits)) > 1


def entropy(value: str) -> float:
    """Shannon entropy of a string's own characters, in bits per character."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())
