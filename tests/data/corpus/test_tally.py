from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.corpus.tally import SAMPLES, Tally, excerpt, waterfall
from llmkit.data.drops import Drop

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("passed"), st.sampled_from(["read", "normalise"]), st.integers(0, 99)),
        st.tuples(st.just("dropped"), st.sampled_from(["read", "quality"]), st.sampled_from(["empty", "binary"])),
        st.tuples(st.just("pii"), st.sampled_from(["email", "phone"]), st.integers(1, 9)),
        st.tuples(st.just("changed"), st.sampled_from(["normalise", "lines"]), st.integers(1, 9)),
    ),
    max_size=40,
)


def tally_of(events: list[tuple[str, str, object]], first: int = 0) -> Tally:
    tally = Tally()
    for number, (kind, name, value) in enumerate(events, start=first):
        if kind == "passed":
            tally.passed(name, int(str(value)), 2 * int(str(value)))
        elif kind == "dropped":
            tally.dropped(Drop(f"/{number}", name, str(value), f"detail {number}"), f"text {number}")
        elif kind == "pii":
            tally.found_pii({name: int(str(value))})
        else:
            tally.changed(name, {"rule": int(str(value))})
    return tally


@given(EVENTS, st.data())
def test_shards_merged_in_order_give_what_one_pass_gives(
    events: list[tuple[str, str, object]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events)))
    merged = Tally()
    merged.merge(tally_of(events[:cut]).to_json())
    merged.merge(tally_of(events[cut:], cut).to_json())
    assert merged.to_json() == tally_of(events).to_json()


def test_only_the_first_samples_of_each_reason_are_kept() -> None:
    tally = Tally()
    for number in range(2 * SAMPLES):
        tally.dropped(Drop(f"/{number}", "read", "empty"))
        tally.dropped(Drop(f"/{number}", "quality", "gopher_quality.min_words", "3 words", "row"), "some text")
    samples = tally.to_json()["samples"]
    assert [each["source"] for each in samples["read/empty"]] == [f"/{number}" for number in range(SAMPLES)]
    last = samples["quality/gopher_quality.min_words"][-1]
    assert (last["record"], last["detail"], last["excerpt"]) == ("row", "3 words", "some text")
    assert last["id"] == Drop(last["source"], "", "", record="row").id


def test_reasons_are_listed_most_frequent_first() -> None:
    tally = tally_of([("dropped", "read", "empty"), ("dropped", "read", "binary"), ("dropped", "quality", "binary")])
    assert tally.reasons() == "2 binary, 1 empty"
    assert tally.reasons(1) == "2 binary"


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("a\n\tb\u3000c ") == "a b c"
    assert len(excerpt("猫" * 10_000)) == 300


def test_a_step_that_let_nothing_through_is_in_the_waterfall() -> None:
    rows = waterfall({"read": {"documents": 2, "characters": 5, "bytes": 6}}, ["read", "quality"])
    assert rows == [
        {"step": "read", "documents": 2, "characters": 5, "bytes": 6},
        {"step": "quality", "documents": 0, "characters": 0, "bytes": 0},
    ]
