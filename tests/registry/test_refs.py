from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import ConfigError, LlmkitError, UsageError
from llmkit.registry.refs import (
    EndpointRef,
    HubRef,
    PathRef,
    Ref,
    RegistryRef,
    check_name,
    check_tag,
    parse,
    parse_input,
    slug,
)

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
TAGS = NAMES.filter(lambda tag: not tag.isdigit())
HUB_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}"
REFS: st.SearchStrategy[Ref] = st.one_of(
    st.builds(RegistryRef, NAMES),
    st.builds(RegistryRef, NAMES, version=st.integers(1, 10**9)),
    st.builds(RegistryRef, NAMES, tag=TAGS),
    st.builds(
        PathRef,
        st.builds(str.__add__, st.sampled_from(["./", "../", "/", "~/"]), st.text().map(lambda t: t.replace("\0", ""))),
    ),
    st.builds(
        HubRef,
        st.from_regex(f"({HUB_PART}/)?{HUB_PART}", fullmatch=True),
        revision=st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,12}", fullmatch=True),
        split=st.none() | st.sampled_from(["train", "validation", "train[:10%]", "test"]),
    ),
    st.builds(
        EndpointRef,
        st.sampled_from(["http://localhost:8000/v1", "https://api.example.org/v1", "http://[::1]:11434/v1"]),
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,20}", fullmatch=True),
    ),
)


@given(REFS)
def test_every_reference_reads_back_from_its_own_text(ref: Ref) -> None:
    assert parse(str(ref)) == ref


@given(st.text())
def test_any_text_is_a_reference_that_reads_back_or_an_error_with_a_mend(text: str) -> None:
    try:
        ref = parse(text)
    except LlmkitError as error:
        assert isinstance(error, UsageError | ConfigError)
    else:
        assert parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("corpus", RegistryRef("corpus")),
        ("corpus@3", RegistryRef("corpus", version=3)),
        ("bot@prod", RegistryRef("bot", tag="prod")),
        ("qwen2.5-0.5b-instruct", RegistryRef("qwen2.5-0.5b-instruct")),
        ("./docs", PathRef("./docs")),
        (".", PathRef(".")),
        ("../docs", PathRef("../docs")),
        ("/srv/docs", PathRef("/srv/docs")),
        ("~/docs", PathRef("~/docs")),
        ("Qwen/Qwen2.5-0.5B", HubRef("Qwen/Qwen2.5-0.5B")),
        ("hf:gpt2", HubRef("gpt2")),
        ("hf:gpt2@main", HubRef("gpt2", revision="main")),
        ("rajpurkar/squad@refs/pr/1#validation", HubRef("rajpurkar/squad", "refs/pr/1", "validation")),
        ("openai:http://localhost:8000/v1#qwen2.5:0.5b", EndpointRef("http://localhost:8000/v1", "qwen2.5:0.5b")),
        ("openai:http://localhost:8000/v1/#m", EndpointRef("http://localhost:8000/v1", "m")),
    ],
)
def test_the_forms_of_the_grammar(text: str, ref: Ref) -> None:
    assert parse(text) == ref


@pytest.mark.parametrize(
    "text",
    ["", " ", "Corpus", "corpus@", "corpus@0", "corpus@03", "corpus@Prod", "a b", "docs/", "a/b/c", "corpus@a/b",
     "corpus#a/b", "hf:", "hf:a@", "hf:a#", "-x", "corpus@²", "./a\0b", "a" * 200,
     "openai:", "openai:localhost#m", "openai:http://h/v1", "openai:http://h:99999/v1#m", "openai:ftp://h#m"],
)  # fmt: skip
def test_what_fits_no_form_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize("user", ["me:secret@", "me:@", "token@"])
def test_an_endpoint_with_credentials_in_its_url_is_refused_and_not_repeated(user: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"openai:https://{user}example.org/v1#m")
    assert "secret" not in f"{caught.value}{caught.value.mend}"


def test_an_input_that_exists_as_a_path_is_that_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").touch()
    assert parse_input("org/name") == PathRef("./org/name")
    assert parse_input("org") == PathRef("./org")
    assert parse_input(str(tmp_path)) == PathRef(str(tmp_path))
    assert parse_input("org/other") == HubRef("org/other")
    assert parse_input("a" * 100 + "/" + "b" * 300) == HubRef("a" * 100 + "/" + "b" * 300)


@given(st.text())
def test_a_slug_is_always_a_legal_name(text: str) -> None:
    assert check_name(slug(text)) == slug(text)


@given(NAMES)
def test_the_slug_of_a_legal_name_is_that_name(name: str) -> None:
    assert slug(name) == name


def test_slugs_stay_readable_and_texts_without_latin_letters_get_names_of_their_own() -> None:
    assert slug("My Docs (2024)") == "my-docs-2024"
    assert slug("Café.Notes") == "cafe.notes"
    assert slug("資料") != slug("手引き")
    assert re.fullmatch(r"n[0-9a-f]{8}", slug("資料"))


def test_an_illegal_name_is_answered_with_a_legal_one() -> None:
    with pytest.raises(UsageError) as caught:
        check_name("My Docs")
    assert caught.value.mend == "call it `my-docs`"


def test_a_number_is_a_version_and_never_a_tag() -> None:
    with pytest.raises(UsageError, match="numbers are versions"):
        check_tag("3")
    with pytest.raises(UsageError):
        check_tag("Prod")
    assert check_tag("v3") == "v3"
