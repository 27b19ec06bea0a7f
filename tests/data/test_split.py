from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from llmkit.config.sections import SplitOptions
from llmkit.data.split import split_clusters

sizes = st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=8), st.integers(1, 10_000), max_size=30)


def test_the_shares_are_those_asked_for() -> None:
    found = Counter(
        split_clusters({f"c{n}": 100 for n in range(20_000)}, SplitOptions(validation=0.1, test=0.05)).of.values()
    )
    assert abs(found["validation"] / 20_000 - 0.1) < 0.01
    assert abs(found["test"] / 20_000 - 0.05) < 0.01


def test_another_seed_gives_another_split() -> None:
    clusters = {f"c{n}": 1 for n in range(200)}
    assert split_clusters(clusters, SplitOptions(), 1).of != split_clusters(clusters, SplitOptions(), 2).of


def test_a_cluster_stays_where_it_is_when_others_come() -> None:
    few = {f"c{n}": 10 for n in range(1000)}
    many = few | {f"d{n}": 10 for n in range(1000)}
    before, after = split_clusters(few, SplitOptions()).of, split_clusters(many, SplitOptions()).of
    assert all(after[cluster] == before[cluster] for cluster in few)


@example({"0": 1, "00": 1, "dd039a6e": 1}, 39)  # two for validation, and one to train on
@given(sizes, st.integers(0, 50))
def test_small_collections_have_something_to_train_on_and_to_validate_with(clusters: dict[str, int], seed: int) -> None:
    splits = split_clusters(clusters, SplitOptions(), seed)
    found = set(splits.of.values())
    assert set(splits.of) == set(clusters)
    if clusters:
        assert "train" in found
    assert ("validation" in found) == (len(clusters) >= 2)
    if len(clusters) >= 3:
        assert found == {"train", "validation", "test"}
    assert set(splits.missing) == ({"validation", "test"} - found if clusters else set())


@given(sizes, st.integers(0, 50))
def test_what_is_most_of_the_text_is_trained_on(clusters: dict[str, int], seed: int) -> None:
    splits = split_clusters(clusters, SplitOptions(), seed).of
    for cluster, size in clusters.items():
        if 2 * size > sum(clusters.values()):
            assert splits[cluster] == "train"


def test_one_huge_document_is_not_held_out_and_the_lack_is_flagged() -> None:
    splits = split_clusters({"only": 50_000_000}, SplitOptions())
    assert splits.of == {"only": "train"}
    assert splits.missing == ("validation", "test")


def test_a_split_that_is_not_asked_for_stays_empty() -> None:
    splits = split_clusters({f"c{n}": 1 for n in range(50)}, SplitOptions(validation=0.1, test=0.0))
    assert "test" not in splits.of.values()
    assert splits.missing == ()
