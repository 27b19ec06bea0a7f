"""Keys, tokens and private keys: by the prefixes their issuers gave them, and by a name that is given a random value.

The prefixes are the issuers' own, made for being found; see
https://docs.github.com/en/code-security/secret-scanning and the pages of each issuer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from llmkit.data.steps.privacy.checks import entropy
from llmkit.data.steps.privacy.match import PiiType

Found = tuple[PiiType, int, int]

# A literal to look for first, and the pattern that follows it or holds it.
_API_KEYS = (
    ("AKIA", "AKIA[A-Z2-7]{16}"),  # AWS, long-lived
    ("ASIA", "ASIA[A-Z2-7]{16}"),  # AWS, temporary
    ("ghp_", "ghp_[0-9A-Za-z]{36}"),  # GitHub: personal, OAuth, user, server, refresh
    ("gho_", "gho_[0-9A-Za-z]{36}"),
    ("ghu_", "ghu_[0-9A-Za-z]{36}"),
    ("ghs_", "ghs_[0-9A-Za-z]{36}"),
    ("ghr_", "ghr_[0-9A-Za-z]{36}"),
    ("github_pat_", "github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}"),
    ("glpat-", "glpat-[0-9A-Za-z_-]{20,64}"),  # GitLab
    ("xox", "xox[abeoprs]-[0-9A-Za-z-]{10,250}"),  # Slack
    ("hooks.slack.com", r"hooks\.slack\.com/services/T[0-9A-Z]{8,12}/B[0-9A-Z]{8,12}/[0-9A-Za-z]{24}"),
    ("AIza", "AIza[0-9A-Za-z_-]{35}"),  # Google
    ("GOCSPX-", "GOCSPX-[0-9A-Za-z_-]{28}"),
    ("sk-", "sk-(?=[0-9A-Za-z_-]{0,200}[0-9])[0-9A-Za-z_-]{20,250}"),  # OpenAI, Anthropic and others
    ("k_live_", "[sr]k_live_[0-9A-Za-z]{16,128}"),  # Stripe
    ("k_test_", "[sr]k_test_[0-9A-Za-z]{16,128}"),
    ("whsec_", "whsec_[0-9A-Za-z+/=]{24,80}"),
    ("hf_", "hf_[A-Za-z]{34}"),  # Hugging Face
    ("npm_", "npm_[0-9A-Za-z]{36}"),
    ("pypi-", "pypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,250}"),
    ("SG.", r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"),  # SendGrid
)
_TOKENS = (
    ("ya29.", r"ya29\.[0-9A-Za-z_-]{20,512}"),  # Google, OAuth
    ("eyJ", r"eyJ[0-9A-Za-z_-]{10,4096}+\.eyJ[0-9A-Za-z_-]{10,8192}+\.[0-9A-Za-z_-]{10,4096}+"),  # RFC 7519
)


def _compiled(kind: PiiType, patterns: Sequence[tuple[str, str]]) -> list[tuple[str, PiiType, re.Pattern[str]]]:
    edges = r"(?<![0-9A-Za-z_-])", r"(?![0-9A-Za-z_-])"
    return [(literal, kind, re.compile(pattern.join(edges))) for literal, pattern in patterns]


_ISSUED = (*_compiled("api_key", _API_KEYS), *_compiled("token", _TOKENS))

_PRIVATE_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PRIVATE_END = re.compile(r"-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_LONGEST_KEY = 16_384
_BASE64 = re.compile(r"[0-9A-Za-z+/]")
_LEAST_BASE64 = 64
"""Characters of a key's body; an Ed25519 key in PKCS 8 has 64. Examples in documentation have an ellipsis."""

# What a name is set to. The name is read backwards from here, so that the scan starts at few characters.
_ASSIGNED = re.compile(
    r"[:=]>?+[ \t]{0,8}+(?:[\"'](?P<quoted>[^\s\"']{16,256}+)[\"']"
    r"|(?P<bare>(?<=[=])[0-9A-Za-z+/_-]{20,256}+=?=?(?![^\s;,]))"
    r"|(?i:bearer|basic)[ ](?P<bearer>[0-9A-Za-z+/_.~-]{20,1024}+=?=?))"
)
_SECRET_NAME = re.compile(
    r"(?P<key>api_?-?key|access_?-?key|secret|private_?-?key|client_?-?key|passw(?:or)?d|passphrase|credential)"
    r"|(?P<token>token|authorization|bearer|session_?-?id)",
    re.IGNORECASE,
)
_NAME_CHARS = 48
_NAME = re.compile(r"[\w.-]{2,48}[\"'\])]{0,2}[ \t]{0,8}(?::[ ]?str[ ]?)?\Z")
_EXAMPLE = re.compile(
    r"example|your|placeholder|dummy|sample|changeme|x{4}|\*{3}|\.{3}|0{6}|1234567|abcdef|[<>{}()$\\]|://",
    re.IGNORECASE,
)
# `path_to_the_file_0012`: words, and at most one number at the end.
_WORDS = re.compile(r"[A-Za-z]++(?:[_.-][A-Za-z]++)*+[_.-]?[0-9]*+")
_LEAST_ENTROPY = 3.5
"""Bits per character. Words of English have under 3.5 at this length; 20 random hex digits have 3.3 to 3.7, 20 random
letters and digits about 4 (measured)."""
_LEAST_DIGITS = 2


def credential_matches(text: str, types: Collection[PiiType]) -> Iterator[Found]:
    """Keys and tokens of the given types; they may overlap."""
    for literal, kind, pattern in _ISSUED:
        if kind in types and literal in text:
            for match in pattern.finditer(text):
                yield kind, *match.span()
    if "private_key" in types and "PRIVATE KEY" in text:
        yield from _private_keys(text)
    if "api_key" in types or "token" in types:
        for found in _assigned(text):
            if found[0] in types:
                yield found


def _private_keys(text: str) -> Iterator[Found]:
    """PEM (RFC 7468) and PGP blocks, with their first and last lines."""
    position = 0
    while begin := _PRIVATE_BEGIN.search(text, position):
        position = begin.end()
        limit = min(len(text), position + _LONGEST_KEY)
        end = _PRIVATE_END.search(text, position, limit)
        if end and len(_BASE64.findall(text, position, end.start())) >= _LEAST_BASE64:
            position = end.end()
            yield "private_key", begin.start(), end.end()
        elif end is None:
            position = limit


def _assigned(text: str) -> Iterator[Found]:
    """`api_key = "…"`, `"secret": "…"`, `TOKEN=…`, `Authorization: Bearer …` where the value looks random."""
    for match in _ASSIGNED.finditer(text):
        name = _NAME.search(text[max(0, match.start() - _NAME_CHARS) : match.start()])
        said = _SECRET_NAME.search(name.group()) if name else None
        if said is None:
            continue
        group = match.lastgroup or "quoted"
        if _looks_random(match.group(group)):
            kind: PiiType = "token" if group == "bearer" or said.lastgroup == "token" else "api_key"
            yield kind, *match.span(group)


def _looks_random(value: str) -> bool:
    digits = sum(map(value.count, "0123456789"))
    letters = any(map(str.isalpha, value))
    hexadecimal = not value.strip("0123456789abcdefABCDEF")
    least = _LEAST_ENTROPY - 0.5 if hexadecimal else _LEAST_ENTROPY
    return (
        letters
        and digits >= _LEAST_DIGITS
        and entropy(value) >= least
        and not (_EXAMPLE.search(value) or _WORDS.fullmatch(value))
    )
