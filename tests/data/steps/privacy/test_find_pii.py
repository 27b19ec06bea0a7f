"""Sets of our own making, for each type what is one and what only looks like it, in English, Japanese and others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.steps.privacy.match import PII_TYPES, PiiType, chosen_types
from llmkit.data.steps.privacy.patterns import find_pii, fold
from llmkit.errors import ConfigError

# Put together here, so that no scanner takes this file for a leak.
RANDOM = "q7Rk2vXc9LmT4bNz8HdWs3JfPy6GaEu5"
PRIVATE_KEY = "-----BEGIN {0} KEY-----\n{1}\n{1}\n-----END {0} KEY-----".format("PRIVATE", RANDOM)
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N"

FOUND: dict[PiiType, list[str]] = {
    "email": [
        "write to «jane.doe+news@mail.example.co.uk».",
        "連絡先は«taro_yamada@example.jp»まで。",
        "連絡先：«ｔａｒｏ＠ｅｘａｍｐｌｅ．ｃｏ．ｊｐ»です",
        "mailto:«o'brien@example.org»?subject=x",
        "«first@example.com»,«second@example.com»",
        "דוא״ל: «dana@example.co.il»",
    ],
    "phone": [
        "電話«03-1234-5678»まで",
        "TEL：«０３－１２３４－５６７８»",
        "携帯 «０９０ー１２３４ー５６７８» へ",
        "«(03)1234-5678»、«(0422) 12-3456»",
        "«03（1234）5678»",
        "フリーダイヤル«0120-123-456»",
        "«090 1234 5678»",
        "携帯は«09012345678»です",
        "電話番号は«0312345678»です",
        "«+81 90-1234-5678»",
        "«+81-(0)3-1234-5678» 2024",
        "call «(212) 555-0123» or «212-555-0199»",
        "«1-800-555-0199»",
        "Tel. «2125550123»",
        "Phone: «555-0123», Fax («555-0124»)",
        "London «020 7946 0958»",
        "Paris «01 42 68 53 00»",
        "«+49 30 901820»",
        "«+972 50-123-4567»",
        "هاتف: «٠٥٠-١٢٣-٤٥٦٧»",
        "手机：«138-1234-5678»",
        "전화 «010-1234-5678»",
    ],
    "ip": [
        "from «133.242.1.99» port 53",
        "接続元は«１３３．２４２．１．９９»です",
        "the IP address is «1.2.3.4»",
        "http://«93.184.215.14»/index",
        "«2001:4860:4860::8888»",
        "[«2606:2800:21f:cb07:6820:80da:af6b:8b2c»]:443",
    ],
    "credit_card": [
        "card «4111 1111 1111 1111» 12/29 123",
        "«5555-5555-5555-4444»",
        "«4111111111111111»",
        "«3782 822463 10005»",
        "カード番号«４１１１－１１１１－１１１１－１１１１»",
    ],
    "iban": [
        "IBAN «DE89370400440532013000».",
        "to «GB29 NWBK 6016 1331 9268 19» AND",
        "«FR14 2004 1010 0505 0001 3M02 606»",
        "«IT60 X054 2811 1010 0000 0123 456»",
        "«MT84MALT011000012345MTLCAST001S»",
        "«KW81CBKU0000000000001234560101»",
    ],
    "us_ssn": ["SSN: «123-45-6789» 1980-01-01", "social security number «123456789»", "his SSN is «123 45 6789»"],
    "my_number": [
        "個人番号 «123456789018»",
        "マイナンバー：«1234-5678-9018»です",
        "番号は«１２３４　５６７８　９０１８»です",
        "My Number: «1234 5678 9018»",
    ],
    "api_key": [
        "aws «AKIA" + "IOSFODNN7QRSTUVW»",
        "«ghp_" + RANDOM + "abcd»",
        "«xoxb-" + "123456789012-abcdefGHIJ»",
        "«AIza" + RANDOM + "abc»",
        "OPENAI=«sk-" + "proj-" + RANDOM + "»",
        "«sk_" + "live_" + RANDOM + "»",
        'api_key = "«' + RANDOM + '»"',
        '{"client_secret": "«' + RANDOM + '»"}',
        "SECRET_KEY=«" + RANDOM + "»\n",
        "password: '«" + RANDOM + "»'",
    ],
    "token": [
        "jwt «" + JWT + "» end",
        "Authorization: Bearer «" + RANDOM + "»",
        "access_token=«9f8e7d6c5b4a39281706f5e4d3c2b1a0»",
    ],
    "private_key": ["key:\n«" + PRIVATE_KEY + "»\n", "«" + PRIVATE_KEY.replace("PRIVATE", "RSA PRIVATE") + "»"],
    "url_credentials": [
        "postgres://«admin:s3cr3tPw»@db.example.com:5432/x",
        "git clone https://«bot:" + RANDOM + "»@example.com/r.git",
        "ftp://«taro:himitsu9»@localhost/",
    ],
}

NOT_FOUND: dict[PiiType, list[str]] = {
    "email": [
        "an @ sign, user@localhost, @property, a@b",
        "logo@2x.png and style@print.css",
        "git@github.com:org/repository.git",
        "numpy@1.26.4",
        "https://user:password@example.com/ and ssh://deploy@example.com/",
        "価格＠１００円",
    ],
    "phone": [
        "2024-01-02, 01-02-2024, 2024.01.02, 12/31/1999",
        "2024年01月02日 12:34:56",
        "ISBN 978-4-06-519981-0, ISBN 4-00-310101-8, ISSN 0317-8471",
        "version 10.0.19041.1234 and 3.14159265358979",
        "sha 0123456789abcdef0123456789abcdef, id 550e8400-e29b-41d4-a716-446655440000",
        "〒100-0001 東京都千代田区1-1-1",
        "1,234,567,890 yen, 1 234 567 890 and 12345678901234",
        "de ad be ef 01 42 68 53 00 be",
        "pages 100-200-300, 1999-2000-2001",
        "the years 1861 1865 1914 1918",
        "arXiv:2005.14165, doi 10.1000/182",
        "x = a +8190123456789",
        "電話は2024-01-02からです",
    ],
    "ip": [
        "version 1.2.3.4, v8.8.8.8, release 130.1.2.3",
        "DNS is at 8.8.4.4; see 3.2.1.4 and 12.1.3.2 below",
        "127.0.0.1 0.0.0.0 192.168.1.1 10.1.2.3 172.16.0.1 169.254.1.1 255.255.255.255 192.0.2.1 224.0.0.1",
        "1.3.6.1.4.1.311 and 999.1.1.300",
        "a[::2], x[1::], std::dec::bad, fe80::1, ::1, 2001:db8::1, fd00::1234",
        "12:34:56, 00:1a:2b:3c:4d:5e, 2001:02:03",
        "バージョン133.242.1.99",
    ],
    "credit_card": [
        "4111 1111 1111 1112",
        "1234567812345670",
        "0.4111111111111111",
        "a4111111111111111b",
        "20240101123456",
        "41111111-11111111",
    ],
    "iban": ["DE89370400440532013001", "ZZ89370400440532013000", "DE8937040044053201300", "xDE89370400440532013000"],
    "us_ssn": ["000-12-3456", "123-45-67890", "123456789", "2123-45-6789", "078-05-1120", "123-456-789"],
    "my_number": [
        "123456789018",
        "Aadhaar 1234 5678 9018",
        "個人番号 123456789019",
        "1234 5678 9018 1234 は",
        "個人番号 1234567890180",
    ],
    "api_key": [
        'api_key = "your-api-key-goes-here-0001"',
        'api_key = os.environ["API_KEY"]',
        'password = "correct horse battery staple 12"',
        'secret = "aaaaaaaaaaaaaaaaaaaaaa11"',
        "SECRET_KEY=${SECRET_KEY_FROM_VAULT_01}",
        "sk-learn and sk-something-else-entirely",
        "AKIAlowercaseisnothing0",
        "commit 9f8e7d6c5b4a39281706f5e4d3c2b1a0",
        "color: '" + RANDOM + "'",
    ],
    "token": ["eyJ is how it begins", "tokens = tokenizer_of_the_model_number_12", "token: 'not_exists_file_1123'"],
    "private_key": [
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\n" + RANDOM * 4 + "\n-----END PUBLIC KEY-----",
    ],
    "url_credentials": [
        "https://user:password@example.com",
        "https://user:${PASSWORD}@example.com",
        "https://user:<password>@example.com",
        "http://example.com:8080/a@b",
        "mail://nobody",
    ],
}


def positives() -> list[tuple[PiiType, str]]:
    return [(kind, marked) for kind, texts in FOUND.items() for marked in texts]


def negatives() -> list[tuple[PiiType, str]]:
    return [(kind, text) for kind, texts in NOT_FOUND.items() for text in texts]


@pytest.mark.parametrize(("kind", "marked"), positives())
def test_what_is_marked_is_found_and_nothing_else(kind: PiiType, marked: str) -> None:
    expected = [part.partition("»")[0] for part in marked.split("«")[1:]]
    text = marked.replace("«", "").replace("»", "")
    matches = find_pii(text)
    assert [(match.type, match.value) for match in matches] == [(kind, value) for value in expected]
    assert all(text[match.start : match.end] == match.value for match in matches)


@pytest.mark.parametrize(("kind", "text"), negatives())
def test_what_only_looks_like_it_is_not_found(kind: PiiType, text: str) -> None:
    assert [match.value for match in find_pii(text) if match.type == kind] == []


@pytest.mark.parametrize(
    "text",
    [
        "y = x@self.weight + b@model.layers",
        "0x01 02 03 04 05 and [01 42 68 53 00]",
        "MAX = 4111111111111111",
        "TABLE = (0123 456 7890)",
        "ticket = 09012345678",
        "PORT = 212.555.0123",
    ],
)
def test_plain_numbers_and_products_in_code_are_left_alone(text: str) -> None:
    assert find_pii(text, code=True) == []


@pytest.mark.parametrize(
    "text",
    [
        "# Jane Doe <jane@example.com>",
        'card = "4111111111111111"',
        "phone = '03-1234-5678'",
        'HOST = "93.184.215.14"',
        'TOKEN = "' + RANDOM + '"',
    ],
)
def test_code_still_holds_what_is_plainly_personal(text: str) -> None:
    assert len(find_pii(text, code=True)) == 1


def test_only_the_types_asked_for_are_looked_for() -> None:
    text = "taro@example.jp 03-1234-5678"
    assert [match.type for match in find_pii(text, chosen_types(["phone"]))] == ["phone"]
    assert find_pii(text, ()) == []


def test_types_are_chosen_by_name_and_a_wrong_name_is_told_its_neighbour() -> None:
    assert chosen_types(()) == PII_TYPES
    assert chosen_types(("phone", "email")) == ("email", "phone")
    with pytest.raises(ConfigError, match="did you mean 'email'") as raised:
        chosen_types(("emial",))
    assert raised.value.mend is not None
    assert "us_ssn" in raised.value.mend


def test_where_types_overlap_the_most_specific_one_wins() -> None:
    key = 'token = "ghp_' + RANDOM + 'abcd"'
    assert [(match.type, match.value[:4]) for match in find_pii(key)] == [("api_key", "ghp_")]
    assert [match.type for match in find_pii("https://me:s3cr3tPw@example.com")] == ["url_credentials"]


@given(st.text())
def test_folding_keeps_every_position(text: str) -> None:
    folded = fold(text)
    assert len(folded) == len(text)
    assert fold(folded) == folded


snippets = st.sampled_from(
    [text.replace("«", "").replace("»", "") for _, text in positives()] + [text for _, text in negatives()]
)


@given(st.lists(st.one_of(snippets, st.text(max_size=5)), max_size=6).map(" ".join), st.booleans())
def test_matches_of_any_text_are_in_order_apart_and_true_to_it(text: str, code: bool) -> None:
    position = 0
    for match in find_pii(text, code=code):
        assert position <= match.start < match.end
        assert text[match.start : match.end] == match.value
        position = match.end


@given(st.lists(snippets, min_size=1, max_size=4))
def test_a_find_does_not_depend_on_other_lines(lines: list[str]) -> None:
    """Except that a private key has several lines, and a number's Japanese surroundings may be on the next."""
    types = tuple(kind for kind in PII_TYPES if kind not in ("private_key", "my_number", "phone", "ip", "us_ssn"))
    gap = "\n" + "-" * 80 + "\n"
    alone = [match.value for line in lines for match in find_pii(line, types)]
    assert [match.value for match in find_pii(gap.join(lines), types)] == alone


SLOW = """
    a|@|a@|a@a.|1 |0-|(0|+1 |1.1.1.|4111 |::|2001:|://a:|eyJaaaaaaaaaa.|GB82 |
    ='|token = "aaaaaaaaaaaaaaaa|Tel. 1|０|ー|x@a-|
    -----BEGIN PRIVATE KEY-----
"""


@pytest.mark.parametrize("unit", SLOW.replace("\n", "").replace("    ", "").split("|"))
def test_a_megabyte_made_to_be_slow_is_searched_to_its_end(unit: str) -> None:
    text = unit * (1_000_000 // len(unit)) + " taro@example.jp"
    assert [match.value for match in find_pii(text)[-1:]] == ["taro@example.jp"]
