import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.steps.dedup import line_hashes
from llmkit.data.steps.repeated import RepeatedLines, find_repeated
from llmkit.text.document import Document


def repeated(texts: list[str], documents: int) -> RepeatedLines:
    return find_repeated(lambda: iter([line_hashes(text) for text in texts]), documents)


def test_a_footer_goes_and_what_only_some_documents_say_stays() -> None:
    footer = "Copyright 2024 The Lighthouse Society"
    texts = [f"Report number {word} of the keeper\n{footer}" for word in ("one", "two", "three", "four")]
    lines = repeated(texts, 3)
    for text in texts:
        document, removed = lines.remove(Document("/a.txt", text))
        assert (document.text, removed) == (text.split("\n")[0], 1)


def test_figures_do_not_tell_lines_apart_and_case_does() -> None:
    lines = repeated(["Page 1 of 12 pages", "Page 2 of 12 pages", "Page １２ of 12 pages", "page 3 of 12 pages"], 3)
    assert len(lines.hashes) == 0, "the third one has another number of figures"
    lines = repeated(["Page 1 of 12 pages", "Page 2 of 12 pages", "Page ３ of 12 pages", "PAGE 3 of 12 pages"], 3)
    assert lines.remove(Document("/a.txt", "Page 7 of 98 pages\nPAGE 3 of 12 pages"))[0].text == "PAGE 3 of 12 pages"


def test_a_line_that_one_document_repeats_is_in_one_document() -> None:
    assert not repeated(["the same line again\n" * 50, "another line here"], 2).hashes


def test_short_lines_say_nothing_but_few_japanese_characters_do() -> None:
    assert not repeated(["}", "}", "}"], 2).hashes
    assert repeated(["前の記事へ", "前の記事へ"], 2).hashes


def test_what_follows_a_removed_line_leads_back_to_its_own_line_and_page() -> None:
    menu = "Home - News - About us"
    lines = repeated([menu] * 3, 3)
    document, removed = lines.remove(Document("/a.txt", f"{menu}\nfirst\n{menu}\nsecond\n"))
    assert removed == 2
    assert document.text == "first\nsecond\n"
    assert document.source_line(document.text.index("first")) == 2
    assert document.source_line(document.text.index("second")) == 4
    paged = Document("/a.pdf", f"{menu}\nfirst\n\n{menu}\nsecond", pages=(0, len(menu) + 8))
    document, _ = lines.remove(paged)
    assert [document.page_at(document.text.index(word)) for word in ("first", "second")] == [1, 2]


@given(
    st.lists(st.lists(st.sampled_from([f"line number {c} of them" for c in "abcdefgh"])), max_size=8), st.integers(1, 4)
)
def test_exactly_the_lines_of_enough_documents_are_found(documents: list[list[str]], least: int) -> None:
    lines = repeated(["\n".join(lines) for lines in documents], least)
    for line in {line for lines in documents for line in lines}:
        stays = sum(line in lines for lines in documents) < least
        assert (lines.remove(Document("/a", line))[1] == 0) == stays


def test_hashes_counted_a_part_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    arrays = [np.unique(rng.integers(0, 500, 100, dtype=np.uint64)) for _ in range(20)]
    whole = find_repeated(lambda: iter(arrays), 5)
    monkeypatch.setattr("llmkit.data.steps.repeated._PARTITION", 64)
    assert find_repeated(lambda: iter(arrays), 5) == whole
    values, counts = np.unique(np.concatenate(arrays), return_counts=True)
    assert whole.hashes == set(values[counts >= 5].tolist())
    assert not find_repeated(lambda: iter(()), 5).hashes
