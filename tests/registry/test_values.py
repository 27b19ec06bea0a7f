from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import ConfigError
from llmkit.registry.artifact import Draft, InputRef
from llmkit.registry.values import canonical, parse, plain

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.builds(Path, st.just("a/b")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=20,
)


def holds_no_number_that_is_not_finite(value: object) -> bool:
    return json.loads(json.dumps(value, allow_nan=False)) == value


@given(ANYTHING)
def test_whatever_is_recorded_is_strict_json_and_reads_back(value: object) -> None:
    try:
        recorded = plain(value)
    except ConfigError:
        return  # hypothesis found a URL with a password
    assert holds_no_number_that_is_not_finite(recorded)
    assert parse(canonical(recorded)) == recorded
    assert plain(recorded) == recorded


def test_numbers_that_are_not_finite_are_recorded_as_words() -> None:
    recorded = plain({"loss": float("nan"), "best": [float("inf"), -float("inf")], "f": numpy.float32("nan")})
    assert recorded == {"loss": "nan", "best": ["inf", "-inf"], "f": "nan"}


def test_scalars_of_numpy_become_plain_numbers() -> None:
    assert plain({"n": numpy.int64(3), "x": numpy.float32(0.5)}) == {"n": 3, "x": 0.5}


def test_what_has_no_json_form_is_named_by_its_key() -> None:
    with pytest.raises(TypeError, match=r"config\.a\.0: object"):
        plain({"a": [object()]}, "config")


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_json_with_nan_in_it_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="not a JSON number"):
        parse(text.encode())


SECRETS = [
    "postgres://me:hunter2@db.example.org/x",
    "see https://me:hunter2@example.org/a?b",
    "https://hunter2@example.org/repo.git",
    "http://me:hunt:er2@h",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_url_with_credentials_is_refused_wherever_it_stands_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plain({"store": {"urls": ["x", url]}}, "config")
    assert caught.value.where == "config.store.urls.1"
    assert "hunter2" not in f"{caught.value}{caught.value.mend}"


@pytest.mark.parametrize(
    "text",
    ["http://localhost:8000/v1", "ssh://git@github.com/a/b", "mail me@example.org", "http://[::1]:80/x", "a@b: c://d",
     "https://example.org/@user", "https://example.org/a?mail=x@y.z", "https://a.org, or me@b.org"],
)  # fmt: skip
def test_urls_and_addresses_without_credentials_pass(text: str) -> None:
    assert plain(text) == text


def test_a_draft_refuses_secrets_in_its_config_and_its_inputs() -> None:
    good = {"kind": "index", "name": "kb", "command": "index", "key": "0" * 64}
    with pytest.raises(ConfigError) as caught:
        Draft(**good, config={"store": SECRETS[0]})
    assert caught.value.where == "config.store"
    with pytest.raises(ConfigError):
        InputRef(role="files", ref=SECRETS[1], digest="0" * 64)


def test_file_names_that_are_not_utf8_are_recorded_by_their_escapes() -> None:
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    assert InputRef(role="files", ref=name, digest="0" * 64).ref == "caf\\udce9.txt"
