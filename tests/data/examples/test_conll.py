from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.examples.conll import read_conll
from llmkit.data.examples.fields import RowDrop
from llmkit.data.examples.reading import detect_schema, read_training_rows
from llmkit.data.rows import BadRow, Row
from llmkit.errors import DataError

# The first sentences of CoNLL-2003's English training file, as the task's page prints them (with IOB1 tags there).
ENGLISH = """-DOCSTART- -X- -X- O

U.N. NNP I-NP I-ORG
official NN I-NP O
Ekeus NNP I-NP I-PER
heads VBZ I-VP O
for IN I-PP O
Baghdad NNP I-NP I-LOC
. . O O

Peter NNP B-NP I-PER
Blackburn NNP I-NP I-PER
"""


def read(path):
    return [
        ([(item.text[tag.start : tag.end], tag.tag) for tag in item.tags], item.record)
        for item in read_training_rows([path], "tag")
        if not isinstance(item, RowDrop)
    ]


@pytest.mark.parametrize("name", ["eng.conll", "eng.txt", "sentences.iob"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_files_of_the_shared_task_are_read(tmp_path, name, newline):
    path = tmp_path / name
    path.write_bytes(ENGLISH.replace("\n", newline).encode())
    assert detect_schema([path]) == ("tag", "tokens")
    first, second = read(path)
    assert first[0][:3] == [("U.N.", "I-ORG"), ("official", "O"), ("Ekeus", "I-PER")]
    assert (len(first[0]), first[1], second[1]) == (7, "3", "11")
    assert second[0] == [("Peter", "I-PER"), ("Blackburn", "I-PER")]


@pytest.mark.parametrize("middle", [[], ["NN"], ["NN", "I-NP"]])
@pytest.mark.parametrize("apart", [" ", "\t", "   "])
@pytest.mark.parametrize("tags", [["I-X", "O", "B-X"], ["B-X", "I-X", "O"], ["B-X", "E-X", "S-Y"]])
def test_two_to_four_columns_and_every_scheme_of_prefixes(tmp_path, middle, apart, tags):
    path = tmp_path / "a.conll"
    path.write_text("".join(f"{apart.join([word, *middle, tag])}\n" for word, tag in zip("abc", tags, strict=True)))
    (found,) = read(path)
    assert found == (list(zip("abc", tags, strict=True)), "1")


def test_a_word_may_hold_a_space_where_columns_are_apart_by_tabs(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("New York\tB-LOC\n4 \u2028 2\tO\n", encoding="utf-8")
    (row,) = read_conll(path)
    assert row == Row(1, {"tokens": ["New York", "4 \u2028 2"], "tags": ["B-LOC", "O"]})


def test_a_bad_line_is_named_and_takes_only_its_own_sentence_along(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("a X O\nb O\n\nc X O\n\nd\n\ne X B-Y\n")
    first, second, third, last = read_conll(path)
    assert first == BadRow(2, "bad_columns", "2 columns apart by spaces, and the file began with 3")
    assert (second.number, last.number) == (4, 8)
    assert isinstance(third, BadRow) and third.number == 6
    drops = [item for item in read_training_rows([path], "tag") if isinstance(item, RowDrop)]
    assert [(drop.record, drop.reason) for drop in drops] == [("2", "bad_columns"), ("6", "bad_columns")]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("a\t\n", "its tag is empty"),
        ("\tB-X\n", "its word is empty"),
        ("a b c d e\n", "5 columns apart by spaces, and a word, its tag and at most two others are known"),
        ("a\n", "1 columns apart by spaces, and a word, its tag and at most two others are known"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(tmp_path, line, detail):
    path = tmp_path / "a.conll"
    path.write_text(line)
    assert list(read_conll(path)) == [BadRow(1, "bad_columns", detail)]


def test_lines_above_a_sentence_are_no_words_and_a_number_sign_may_be_one(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("# id 1 domain=en\n# O\n1 B-N\n\n# text = b\nb O\n")
    assert [row.fields["tokens"] for row in read_conll(path)] == [["#", "1"], ["b"]]


def test_prose_is_not_taken_for_tags(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("to be\nor not\nto be\n")
    with pytest.raises(DataError, match="not a file of examples") as caught:
        detect_schema([path])
    assert "CoNLL" in caught.value.mend


def test_compressed_files_and_the_tasks_own_names_for_its_parts(tmp_path):
    names = {"eng.train.gz": None, "eng.testa.gz": "validation", "eng.testb.gz": "test"}
    for name in names:
        (tmp_path / name).write_bytes(gzip.compress(ENGLISH.encode()))
    found = list(read_training_rows([tmp_path / name for name in names], "tag"))
    assert [item.split for item in found[::2]] == ["train", "validation", "test"]


WORD = st.text(st.characters(exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=6).filter(
    lambda word: word == word.strip() and not word.startswith(("-DOCSTART-", "#", "\ufeff"))
)


@given(st.lists(st.lists(st.tuples(WORD, st.sampled_from(["O", "B-X", "I-X"])), min_size=1), min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory, sentences):
    path = tmp_path_factory.mktemp("conll") / "a.conll"
    path.write_text("\n\n".join("\n".join(f"{w}\t{t}" for w, t in each) for each in sentences), encoding="utf-8")
    found = [list(zip(row.fields["tokens"], row.fields["tags"], strict=True)) for row in read_conll(path)]
    assert found == [list(each) for each in sentences]
