from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import CleanOptions, PrivacyOptions, QualityOptions
from llmkit.data.corpus.prepare import PrepareOptions, prepare, steps_of
from llmkit.data.steps.clean import clean
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.places import carry_places, line_map
from llmkit.text.document import Document

KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join("MIIEowIBAAKCAQEA" + "x" * 48 for _ in range(9))
KEY += "\n-----END RSA PRIVATE KEY-----"
SENTENCE = "The keeper of the lighthouse at the end of the bay wrote down the weather twice a day for {} years."


def lines_of(document: Document) -> dict[str, int]:
    """Each line of the text with the line of the source it leads back to."""
    places: dict[str, int] = {}
    offset = 0
    for line in document.text.split("\n"):
        places[line] = document.source_line(offset)
        offset += len(line) + 1
    return places


def pages_of(document: Document) -> dict[str, int | None]:
    places: dict[str, int | None] = {}
    offset = 0
    for line in document.text.split("\n"):
        places[line] = document.page_at(offset)
        offset += len(line) + 1
    return places


def prepared(document: Document, options: PrepareOptions) -> Document:
    last = prepare(document, steps_of(options))[-1].result
    assert isinstance(last, Passed), last
    return last.document


@given(st.lists(st.integers(1, 60), unique=True).map(sorted))
def test_a_line_map_leads_every_line_to_its_origin(origins: list[int]) -> None:
    text = "\n".join(f"line {origin}" for origin in origins)
    document = Document("/a.txt", text, line_map=line_map(origins))
    if origins:
        assert lines_of(document) == {f"line {origin}": origin for origin in origins}


def test_a_text_whose_lines_did_not_move_needs_no_map() -> None:
    assert line_map(range(1, 10)) == ()
    assert line_map([1, 2, 5, 6, 9]) == ((3, 5), (5, 9))


@given(st.lists(st.sampled_from(["keep", "change", "remove"]), min_size=1, max_size=40))
def test_lines_that_stay_keep_their_number_whatever_is_removed_or_changed_around_them(fates: list[str]) -> None:
    old = [f"line {number} stays" for number in range(1, len(fates) + 1)]
    new = [line if fate == "keep" else "[EMAIL]" for line, fate in zip(old, fates, strict=True) if fate != "remove"]
    before = Document("/a.txt", "\n".join(old))
    places = lines_of(carry_places(before, replace(before, text="\n".join(new))))
    for number, (line, fate) in enumerate(zip(old, fates, strict=True), start=1):
        if fate == "keep":
            assert places[line] == number


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=6))
def test_lines_that_stay_keep_their_page_also_where_whole_pages_went(pages: list[list[bool]]) -> None:
    texts, starts, offset = [], [], 0
    for page, lines in enumerate(pages, start=1):
        text = "\n".join(f"page {page} line {line}" for line in range(len(lines)))
        texts.append(text)
        starts.append(offset)
        offset += len(text) + 2
    before = Document("/a.pdf", "\n\n".join(texts), pages=tuple(starts))
    gone = {
        f"page {page} line {line}"
        for page, lines in enumerate(pages, start=1)
        for line, stays in enumerate(lines)
        if not stays
    }
    text = "\n".join(line for line in before.text.split("\n") if line not in gone)
    after = carry_places(before, replace(before, text=text))
    assert len(after.pages) == len(pages)
    assert list(after.pages) == sorted(after.pages)
    for line, page in pages_of(after).items():
        if line:
            assert page == int(line.split()[1]), (line, after)


def test_maps_of_two_steps_are_carried_one_over_the_other() -> None:
    before = Document("/a.txt", "\n\n\n\n\n\nfirst\n\n\n\n\n\nsecond\nthird\nfourth\n")
    cleaned = clean(before, CleanOptions(min_chars=0))
    assert isinstance(cleaned, Passed)
    assert lines_of(cleaned.document)["third"] == 14
    without = replace(cleaned.document, text=cleaned.document.text.replace("second\n", ""))
    places = lines_of(carry_places(cleaned.document, without))
    assert (places["first"], places["third"], places["fourth"]) == (7, 14, 15)


def test_rows_of_a_table_have_no_lines_of_the_source() -> None:
    before = Document("/a.csv", "one\ntwo\nthree", record="7")
    assert carry_places(before, replace(before, text="one\nthree")).line_map == ()


def test_a_secret_of_many_lines_becomes_one_and_what_follows_keeps_its_line() -> None:
    text = "\n".join([SENTENCE.format(1), "", KEY, "", "mail bob@example.org", SENTENCE.format(2), SENTENCE.format(3)])
    document = prepared(
        Document("/a.md", text, media="text/markdown"), PrepareOptions(privacy=PrivacyOptions(pii="replace"))
    )
    assert "PRIVATE KEY" not in document.text
    assert "bob@" not in document.text
    places = lines_of(document)
    source = text.split("\n")
    for line in (SENTENCE.format(1), SENTENCE.format(2), SENTENCE.format(3)):
        assert places[line] == source.index(line) + 1


def test_positions_lead_back_through_normalising_lines_removed_by_c4_and_placeholders() -> None:
    body = [SENTENCE.format(number) for number in range(20)]
    source = [
        "",
        "",
        "",
        "",
        "Home | About | Contact",
        body[0],
        "",
        "",
        "",
        "",
        "",
        *body[1:10],
        "Terms of use",
        "Write to keeper@example.org, or come by the tower on any day of the week.",
        *body[10:],
        "Back to top",
    ]
    options = PrepareOptions(quality=QualityOptions(rules=("c4",)), privacy=PrivacyOptions(pii="replace"))
    document = prepared(Document("/a.txt", "\r\n".join(source)), options)
    assert "Terms of use" not in document.text
    assert "keeper@" not in document.text
    places = lines_of(document)
    for line in body:
        assert places[line] == source.index(line) + 1
    changed = next(line for line in places if "come by the tower" in line)
    assert places[changed] == source.index("Terms of use") + 2
    pages = ["\n".join(["MENU", *body[:7]]), "\n".join(body[7:14]), "\n".join([*body[14:], "Imprint"])]
    starts = (0, len(pages[0]) + 2, len(pages[0]) + len(pages[1]) + 4)
    paged = prepared(Document("/a.pdf", "\n\n".join(pages), pages=starts), options)
    assert "MENU" not in paged.text
    found = pages_of(paged)
    assert [found[line] for line in body] == [1] * 7 + [2] * 7 + [3] * 6


def test_japanese_and_right_to_left_lines_lead_back_too() -> None:
    source = [
        "",
        "",
        "",
        "吾輩は猫である。名前はまだ無い。",
        "",
        "",
        "",
        "",
        "連絡先：neko@example.jp まで。",
        "هذا نص عربي قصير مكتوب من اليمين إلى اليسار.",
        "どこで生れたかとんと見当がつかぬ。",
    ]
    document = prepared(Document("/a.txt", "\n".join(source)), PrepareOptions(privacy=PrivacyOptions(pii="replace")))
    places = lines_of(document)
    for line in (source[3], source[9], source[10]):
        assert places[line] == source.index(line) + 1
    assert places[next(line for line in places if line.startswith("連絡先"))] == 9
