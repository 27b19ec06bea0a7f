import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.steps.privacy.checks import entropy, is_card_number, is_iban, is_my_number, is_us_ssn, luhn

# Examples that the countries gave to the IBAN registry.
IBANS = [
    "GB29NWBK60161331926819",
    "DE89370400440532013000",
    "FR1420041010050500013M02606",
    "NL91ABNA0417164300",
    "BE68539007547034",
    "CH9300762011623852957",
    "ES9121000418450200051332",
    "IT60X0542811101000000123456",
    "AT611904300234573201",
    "SE4550000000058398257466",
    "NO9386011117947",
    "DK5000400440116243",
    "FI2112345600000785",
    "PL61109010140000071219812874",
    "SA0380000000608010167519",
    "TR330006100519786457841326",
    "IL620108000000099999999",
    "KW81CBKU0000000000001234560101",
    "MT84MALT011000012345MTLCAST001S",
    "BR1800360305000010009795493C1",
    "LC55HEMM000100010012001200023015",
    "SC18SSCB11010000000000001497USD",
    "UA213223130000026007233566001",
    "JO94CBJO0010000000000131000302",
    "AE070331234567890123456",
    "CY17002001280000001200527600",
    "GR1601101250000000012300695",
]

digits = st.text("0123456789", min_size=11, max_size=18)


@given(digits)
def test_exactly_one_last_digit_satisfies_luhns_formula(body: str) -> None:
    assert sum(luhn(body + last) for last in "0123456789") == 1


@given(digits, st.integers(0, 10), st.integers(1, 9))
def test_luhns_formula_notices_one_wrong_digit(body: str, place: int, step: int) -> None:
    right = next(body + last for last in "0123456789" if luhn(body + last))
    wrong = right[:place] + str((int(right[place]) + step) % 10) + right[place + 1 :]
    assert not luhn(wrong)


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "4222222222222",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "6240008631401148",
    ],
)
def test_the_networks_own_test_numbers_are_card_numbers(number: str) -> None:
    assert is_card_number(number)
    assert not is_card_number(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize("number", ["1234567812345670", "9111111111111111", "41111111111116", "0000000000000000"])
def test_no_networks_prefix_or_length_is_no_card_number(number: str) -> None:
    assert not is_card_number(number)


@pytest.mark.parametrize("iban", IBANS)
def test_the_registrys_examples_are_ibans_and_lose_it_by_one_changed_digit(iban: str) -> None:
    assert is_iban(iban)
    assert not is_iban(iban[:2] + str((int(iban[2]) + 1) % 10) + iban[3:])
    assert not is_iban(iban + "0")


@given(st.text("0123456789", min_size=11, max_size=11).filter(lambda body: len(set(body)) > 1))
def test_the_check_digit_of_my_number_is_that_of_the_ordinances_weights(body: str) -> None:
    total = sum(int(digit) * weight for digit, weight in zip(body, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2), strict=True))
    expected = {0: 0, 1: 0}.get(total % 11, 11 - total % 11)
    assert [digit for digit in range(10) if is_my_number(body + str(digit))] == [expected]


def test_my_number_has_twelve_digits_that_are_not_all_the_same() -> None:
    assert is_my_number("123456789018")
    assert not is_my_number("12345678901")
    assert not is_my_number("000000000000")


@pytest.mark.parametrize(
    "ssn", ["000123456", "666123456", "900123456", "999999999", "123004567", "123450000", "078051120"]
)
def test_what_was_never_given_out_is_no_social_security_number(ssn: str) -> None:
    assert not is_us_ssn(ssn)
    assert is_us_ssn("123456789")


def test_entropy_is_zero_for_one_repeated_character_and_two_bits_for_four_different_ones() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2
