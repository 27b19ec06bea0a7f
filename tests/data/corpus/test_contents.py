from llmkit.data.corpus.contents import Contents


def add(contents: Contents, characters: int, **properties: str) -> None:
    known = {"language": "en", "origin": "docs", "media": "text/plain", "licence": "unknown"}
    contents.add({"documents": 1, "characters": characters, "bytes": 3 * characters}, known | properties)


def test_documents_are_counted_by_every_property() -> None:
    contents = Contents()
    add(contents, 100)
    add(contents, 50, language="ja", licence="cc-by-4.0")
    add(contents, 70, language="ja", media="text/html", origin="example.org")
    found = contents.to_json()
    assert found["languages"] == {
        "ja": {"documents": 2, "characters": 120, "bytes": 360},
        "en": {"documents": 1, "characters": 100, "bytes": 300},
    }
    assert list(found["languages"]) == ["ja", "en"], "the largest first"
    for name in ("languages", "sources", "formats", "licences"):
        counts = found[name]
        assert isinstance(counts, dict)
        assert sum(each["documents"] for each in counts.values()) == 3


def test_lengths_are_powers_of_two_for_all_and_by_language() -> None:
    contents = Contents()
    for characters in (0, 1, 2, 3, 4, 1023, 1024):
        add(contents, characters, language="th" if characters > 1000 else "en")
    assert contents.to_json()["lengths"] == {
        "all": {"0": 2, "1": 2, "2": 1, "9": 1, "10": 1},
        "en": {"0": 2, "1": 2, "2": 1},
        "th": {"9": 1, "10": 1},
    }


def test_the_smallest_of_many_sources_are_counted_together() -> None:
    contents = Contents()
    for number in range(60):
        add(contents, 1 + number, origin=f"docs/{number:02}")
    sources = contents.to_json()["sources"]
    assert isinstance(sources, dict)
    assert len(sources) == 51
    assert sources["10 others"] == {"documents": 10, "characters": 55, "bytes": 165}
    assert next(iter(sources)) == "docs/59"
