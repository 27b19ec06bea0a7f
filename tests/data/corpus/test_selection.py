import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.config.sections import DecontaminateOptions, DedupOptions, SplitOptions
from llmkit.data.corpus.selection import Selection, SelectOptions, cluster_report, duplicate_drop, select
from llmkit.data.corpus.shardfile import Row, ShardSet, ShardWriter
from llmkit.data.corpus.tally import Tally
from llmkit.data.steps.dedup import line_hashes, sketch
from llmkit.reporting.reporter import Silent
from llmkit.text.document import Document

BASE = " ".join(f"word{n}" for n in range(100))
NEAR = BASE.replace("word50", "other")
OTHERS = [" ".join(f"{name}{n}" for n in range(80)) for name in ("stone", "river", "light", "tower", "garden")]


def shards_of(folder: Path, texts: Sequence[str], facts: Sequence[dict[str, Any]] = ()) -> ShardSet:
    """Two documents a shard."""
    folders = []
    for number in range(0, len(texts), 2):
        writer = ShardWriter(folder / f"{number:06}")
        for index in range(number, min(number + 2, len(texts))):
            document = Document(f"/in/{index}.txt", texts[index], record=str(index) if index % 2 else "")
            row = Row(document, document.digest[:16], "in", facts[index] if facts else {})
            writer.add(row, sketch(document.text), line_hashes(document.text))
        writer.finish(Tally().to_json())
        folders.append(folder / f"{number:06}")
    return ShardSet(folders)


def chosen(shards: ShardSet, folder: Path, **options: Any) -> Selection:
    wanted = SelectOptions(
        options.get("dedup", DedupOptions()),
        options.get("decontaminate", DecontaminateOptions()),
        options.get("split", SplitOptions()),
        options.get("seed", 0),
        options.get("min_chars", 0),
    )
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True, parents=True)
    return select(shards, scratch, wanted, workers=1, reporter=Silent())


@pytest.mark.parametrize(
    ("duplicates", "expected"),
    [("near", [False, True, True, False]), ("exact", [False, False, True, False]), ("none", [False] * 4)],
)
def test_duplicates_are_dropped_as_asked(tmp_path: Path, duplicates: Any, expected: list[bool]) -> None:
    shards = shards_of(tmp_path, [BASE, NEAR, BASE.upper(), OTHERS[0]])
    selection = chosen(shards, tmp_path, dedup=DedupOptions(duplicates=duplicates))
    assert selection.duplicate.tolist() == expected
    assert selection.clusters.original.tolist() == [0, 0, 0, 3], "clusters are known whatever is dropped"


def test_an_exact_copy_of_a_near_duplicate_is_a_copy(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [BASE, NEAR, NEAR.upper()])
    selection = chosen(shards, tmp_path, dedup=DedupOptions(duplicates="exact"))
    assert selection.duplicate.tolist() == [False, False, True]


def test_the_record_of_a_duplicate_names_its_original(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [OTHERS[0], BASE, BASE.title(), NEAR])
    clusters = chosen(shards, tmp_path).clusters
    exact, near = duplicate_drop(shards, clusters, 2), duplicate_drop(shards, clusters, 3)
    original = Document("/in/1.txt", "", record="1")
    assert (exact.reason, near.reason) == ("exact_duplicate", "near_duplicate")
    assert exact.of == near.of == original.id
    assert exact.detail == "the same text as /in/1.txt (record 1)"
    assert (near.source, near.record, near.step) == ("/in/3.txt", "3", "dedup")


def test_a_later_document_with_the_same_id_and_another_text_is_left_out(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "000000")
    for text in (OTHERS[0], OTHERS[1], OTHERS[0].upper(), OTHERS[2]):
        document = Document("/in/rows.jsonl", text, record="7")
        writer.add(Row(document, document.digest[:16], "in", {}), sketch(text), line_hashes(text))
    writer.finish(Tally().to_json())
    selection = chosen(ShardSet([tmp_path / "000000"]), tmp_path)
    assert selection.duplicate.tolist() == [False, False, True, False]
    assert selection.repeated.tolist() == [False, True, False, True]


def test_the_report_of_clusters_counts_those_of_several_documents(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [BASE, OTHERS[0], NEAR, BASE.upper(), OTHERS[0].upper(), OTHERS[1]])
    report = cluster_report(shards, chosen(shards, tmp_path).clusters)
    assert report["sizes"] == {"2": 1, "3": 1}
    assert [(each["size"], each["source"]) for each in report["largest"]] == [(3, "/in/0.txt"), (2, "/in/1.txt")]
    json.dumps(report)


def test_contaminated_documents_are_known_by_their_facts_and_count_for_the_split_only_if_kept(tmp_path: Path) -> None:
    facts: list[dict[str, Any]] = [{}, {"contaminated": {"quiz": ["1"]}}, {"pii": {"email": 1}}, {}]
    shards = shards_of(tmp_path, [BASE, *OTHERS[:3]], facts)
    against = DecontaminateOptions(against=("quiz.jsonl",))
    assert chosen(shards, tmp_path, decontaminate=against).contaminated.tolist() == [False, True, False, False]
    assert not chosen(shards, tmp_path).contaminated.any(), "nothing was looked for"


def test_lines_that_copies_have_in_common_stay_and_those_of_a_site_go(tmp_path: Path) -> None:
    page = "\n".join(f"Line {word} of a page that was saved four times" for word in ("one", "two", "three"))
    footer = "All rights reserved by the lighthouse"
    texts = [page] * 4 + [f"{text}\n{footer}" for text in OTHERS[:3]]
    shards = shards_of(tmp_path, texts)
    lines = chosen(shards, tmp_path, dedup=DedupOptions(repeated_lines=3)).lines
    assert lines is not None
    assert lines.remove(Document("/a", page))[1] == 0
    assert lines.remove(Document("/a", footer))[1] == 1
    kept = chosen(shards, tmp_path, dedup=DedupOptions(repeated_lines=3, duplicates="none")).lines
    assert kept is not None
    assert kept.remove(Document("/a", page))[1] == 0
    assert chosen(shards, tmp_path).lines is None


def test_documents_of_which_nothing_is_left_count_for_no_split(tmp_path: Path) -> None:
    """Such a one is small, and so the first choice for a split that the hash left empty."""
    footer = "All rights reserved by the lighthouse"
    texts = [*(f"{text}\n{footer}" for text in OTHERS[:3]), f"{footer}\n- 1 -", f"{footer}\n- 2 - -"]
    shards = shards_of(tmp_path, texts)
    dedup = DedupOptions(repeated_lines=3, duplicates="none")
    for seed in range(6):
        selection = chosen(shards, tmp_path, dedup=dedup, seed=seed, min_chars=8)
        assert selection.missing == ()
        assert {0, 1, 2} == set(selection.splits[:3].tolist())


@settings(max_examples=25, deadline=None)
@given(
    picks=st.lists(st.sampled_from([BASE, NEAR, BASE.upper(), *OTHERS]), min_size=1, max_size=12),
    shares=st.tuples(st.floats(0, 0.45), st.floats(0, 0.45)),
    seed=st.integers(0, 5),
    duplicates=st.sampled_from(["near", "exact", "none"]),
)
def test_a_cluster_never_straddles_a_split_and_what_is_missing_is_said(
    picks: list[str],
    shares: tuple[float, float],
    seed: int,
    duplicates: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("selection")
    shards = shards_of(folder, picks)
    split = SplitOptions(validation=shares[0], test=shares[1])
    selection = chosen(shards, folder, dedup=DedupOptions(duplicates=duplicates), split=split, seed=seed)
    kept = ~selection.duplicate
    assert kept.any()
    for root in np.unique(selection.clusters.original):
        assert len(set(selection.splits[kept & (selection.clusters.original == root)].tolist())) <= 1
    present = set(selection.splits[kept].tolist())
    assert 0 in present
    for code, name, share in ((1, "validation", shares[0]), (2, "test", shares[1])):
        assert (name in selection.missing) == (share > 0 and code not in present)
