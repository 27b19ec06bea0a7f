"""Filters: the parser against what was written, SQLite against plain Python, and errors that show the place."""

from __future__ import annotations

import fnmatch
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import UsageError
from llmkit.retrieval.where import AllOf, Compare, Condition, Not, OneOf, Value, compares, parse
from llmkit.text.document import Span

AT = Span(0, 0)
FIELDS = ("path", "media", "type", "lang", "title", "page", "year", "done", "著者")
SOURCES = ("/docs/manual/a.md", "/docs/manual/deep/b.md", "/docs/x.py", "/manual.md", "https://x.org/manual/c", "odd")
TEXTS = ("ja", "en", "text/x-python", "python", "12", "012", "3.5", "v2", "true", "a b", "it's", "manual/*", "", "日本")

documents = st.fixed_dictionaries(
    {
        "source": st.sampled_from(SOURCES),
        "media": st.sampled_from(("text/x-python", "application/pdf", "text/markdown")),
    },
    optional={
        "lang": st.sampled_from(("ja", "en")),
        "title": st.sampled_from(TEXTS),
        "page": st.integers(1, 12),
        "year": st.one_of(st.integers(1990, 2030), st.sampled_from(("2019", "v2", "12"))),
        "done": st.booleans(),
        "著者": st.sampled_from(TEXTS),
    },
)
values = st.builds(Value, st.sampled_from((*TEXTS, *SOURCES, "manual/a.md", "2019", "1e1", "-3")), st.booleans())
globs = st.builds(
    Value,
    st.sampled_from(
        ("*", "ja", "*.md", "manual/*", "manual/", "./x.py", "?n", "[a-j]*", "/docs/*", "*2", "text/*", "*o*")
    ),
    st.booleans(),
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    st.one_of(
        st.builds(Compare, st.sampled_from(FIELDS), st.sampled_from(("=", "<", "<=", ">", ">=")), values, st.just(AT)),
        st.builds(Compare, st.sampled_from(FIELDS), st.just("~"), globs, st.just(AT)),
    ),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: OneOf(tuple(parts))),
    ),
    max_leaves=8,
)


def written(condition: Condition) -> str:
    match condition:
        case Compare(field, op, value):
            return f"{field}{op}{_quoted(value)}"
        case Not(part):
            return f"not ({written(part)})"
        case AllOf(parts):
            return " and ".join(f"({written(part)})" for part in parts)
        case OneOf(parts):
            return " or ".join(f"({written(part)})" for part in parts)


def _quoted(value: Value) -> str:
    bare = value.text and not set(value.text) & set(" (),'\"")
    return value.text if bare and not value.quoted else '"' + value.text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def without_places(condition: Condition) -> Condition:
    """The condition as it was written: a value that had to be quoted is quoted."""
    match condition:
        case Compare(field, op, value):
            return Compare(field, op, Value(value.text, _quoted(value)[0] == '"'), AT)
        case Not(part):
            return Not(without_places(part))
        case AllOf(parts):
            return AllOf(tuple(map(without_places, parts)))
        case OneOf(parts):
            return OneOf(tuple(map(without_places, parts)))


def true_of(condition: Condition, document: Mapping[str, Any]) -> bool:
    """The meaning of a condition, in plain Python."""
    match condition:
        case Not(part):
            return not true_of(part, document)
        case AllOf(parts):
            return all(true_of(part, document) for part in parts)
        case OneOf(parts):
            return any(true_of(part, document) for part in parts)
        case Compare(field, op, value):
            return any(_holds(op, text, value) for text in _texts(field, op, document))


def _texts(field: str, op: str, document: Mapping[str, Any]) -> list[str]:
    if field == "path" and op in ("=", "~"):
        source = document["source"]
        cuts = [n + 1 for n, sign in enumerate(source) if sign == "/"]
        return [source, *(source[cut:] for cut in cuts), *(f"./{source[cut:]}" for cut in [0, *cuts])]
    if field == "type":
        return [document["media"].split("/")[1].removeprefix("x-")]
    found = document.get("source" if field == "path" else field)
    return [] if found is None else [str(found).lower() if isinstance(found, bool) else str(found)]


def _holds(op: str, text: str, value: Value) -> bool:
    if op == "~":
        pattern = value.text + "*" if value.text.endswith("/") else value.text
        return fnmatch.fnmatchcase(text, pattern)
    one: Any = text
    other: Any = value.text
    if value.is_number:
        try:
            one, other = float(text), float(value.text)
        except ValueError:
            return False
    answers = {"=": one == other, "<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}
    return bool(answers[op])


def sqlite_says(text: str, document: Mapping[str, Any]) -> bool:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE documents (row INTEGER PRIMARY KEY, source TEXT, record TEXT, media TEXT, meta TEXT)")
    db.execute("CREATE TABLE chunks (row INTEGER PRIMARY KEY, document INTEGER, page INTEGER, heading TEXT)")
    meta = {key: value for key, value in document.items() if key not in ("source", "page")}
    row = (document["source"], document["media"], json.dumps(meta, ensure_ascii=False))
    db.execute("INSERT INTO documents VALUES (1, ?, '', ?, ?)", row)
    db.execute("INSERT INTO chunks VALUES (1, 1, ?, '')", (document.get("page"),))
    sql, parameters = parse(text).sql()
    (found,) = db.execute(f"SELECT {sql} FROM documents d, chunks c", parameters).fetchone()
    db.close()
    assert found in (0, 1)
    return bool(found)


@given(conditions)
def test_what_is_written_is_what_is_read(condition: Condition) -> None:
    assert without_places(parse(written(condition)).condition) == without_places(condition)


@given(conditions, documents)
def test_sqlite_means_what_the_language_says(condition: Condition, document: dict[str, Any]) -> None:
    text = written(condition)
    assert sqlite_says(text, document) == true_of(parse(text).condition, document)


@given(st.text(max_size=40))
def test_any_text_is_a_filter_or_an_error_that_shows_a_place(text: str) -> None:
    try:
        parse(text).sql()
    except UsageError as error:
        assert error.exit_code == 2 and "^" in error.message and error.mend


@given(st.text(alphabet="ab'\"\\;-)( %_*", max_size=12))
def test_a_value_is_never_a_part_of_the_sql(value: str) -> None:
    text = f"title = {_quoted(Value(value, quoted=True))}"
    sql, parameters = parse(text).sql()
    assert sql == parse('title = "x"').sql()[0] and value.encode() in parameters.values()
    assert sqlite_says(text, {"source": "/a", "media": "m/n", "title": value})


def test_and_binds_closer_than_or_and_the_contraries_are_the_contrary() -> None:
    loose = parse("lang=ja or lang=en and type=pdf").condition
    assert isinstance(loose, OneOf) and isinstance(loose.parts[1], AllOf)
    document = {"source": "/a/b.md", "media": "text/markdown", "lang": "ja"}
    for text, expected in {
        "lang in (ja, en)": True,
        "lang not in (ja, en)": False,
        "LANG=ja": False,
        "title != x": True,
        "title !~ *": True,
        "not title ~ *": True,
        "type=markdown AND Not lang=en": True,
        "path = b.md": True,
        "path = .md": False,
        "path != ./a/b.md": False,
        "path ~ /b.md": False,
        "source ~ a/*": False,
        "path ~ [!x].md": True,
    }.items():
        assert sqlite_says(text, document) is expected, text


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("", "empty", ""),
        ("lang", "operator after 'lang'", ""),
        ("lang ja", "operator", "ja"),
        ("lang=", "value after =", ""),
        ("lang=ja path~x", "`and`, `or`, or the end", "path~x"),
        ("(lang=ja", "never closed", "("),
        ("lang='ja", "quote is never closed", "'"),
        ("lang in ja", "expected (", "ja"),
        ("lang in (ja", "expected , or )", ""),
        ("=ja", "expected a field", "=ja"),
        ("lang=ja and", "expected a field", ""),
        ("lang not = ja", "operator", "="),
    ],
)
def test_an_error_points_at_its_place(text: str, message: str, marked: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    said, line, sign = caught.value.message.split("\n")
    assert message in said and caught.value.where == "--where"
    assert line == f"  {text}" and line[sign.index("^") :][: sign.count("^")] == marked


def test_a_place_behind_wide_characters_is_marked_in_the_columns_of_a_terminal() -> None:
    with pytest.raises(UsageError) as caught:
        parse("title=日本語 x")
    assert caught.value.message.split("\n")[2] == "  " + " " * 13 + "^"


def test_an_unknown_field_names_the_closest() -> None:
    where = parse("lang=ja and yaer>2000 and title~*")
    assert where.facts == {"yaer"}
    with pytest.raises(UsageError, match="no document has a field 'yaer'; did you mean 'year'") as caught:
        where.check_fields({"year", "author"})
    assert caught.value.message.split("\n")[2] == "  " + " " * 12 + "^^^^"
    parse("year>2000").check_fields({"year"})


def test_what_is_too_deep_or_too_long_is_refused_and_what_is_just_not_works() -> None:
    document = {"source": "/a", "media": "m/n", "lang": "ja"}
    assert sqlite_says("(" * 20 + "lang=ja" + ")" * 20, document)
    assert not sqlite_says("not " * 19 + "lang=ja", document)
    assert sqlite_says("lang=ja and (lang=en or (" * 10 + "path=a" + "))" * 10, document)
    assert sqlite_says("not (lang=en or not (lang=ja and " * 5 + "path=a" + "))" * 5, document)
    assert sqlite_says(" or ".join(["lang=en"] * 249 + ["lang=ja"]), document)
    assert sqlite_says(f"lang in ({', '.join(['x'] * 249)}, ja)", document)
    for text in ("(" * 5000 + "lang=ja", "not " * 5000 + "lang=ja", " or ".join(["lang=en"] * 251)):
        with pytest.raises(UsageError, match="more than"):
            parse(text)


def test_every_single_condition_is_found() -> None:
    found = compares(parse("a=1 and (b=2 or not c=3) and d in (4, 5)").condition)
    assert [part.field for part in found] == ["a", "b", "c", "d", "d"]
