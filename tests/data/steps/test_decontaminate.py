import json
import pickle
import random
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from llmkit.data.steps.decontamination.eval_sets import read_eval_set
from llmkit.data.steps.decontamination.grams import gram_hashes, most_tokens, weighed_tokens, words_in
from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.data.steps.decontamination.step import DecontaminateStep, contamination_report
from llmkit.errors import DataError, NotFoundError
from llmkit.text.document import Document
from llmkit.text.ngrams import word_tokens
from llmkit.text.scripts import UNSPACED_SCRIPTS, script_of

ENGLISH = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
JAPANESE = "東大寺には、「奈良の大仏」として知られる、高さ約15メートルの盧舎那仏像をはじめ、多くの仏像が伝来する。"
HEBREW = "בתחילת המאה העשרים עברו תושבי העיר העתיקה אל השכונות החדשות שנבנו מחוץ לחומות סביב הנמל הישן"
THAI = "กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย"


def grams(*texts: str, n: int = 13) -> EvalGrams:
    return EvalGrams.build({"set": [(str(i), text) for i, text in enumerate(texts)]}, n)


def sentences(seed: int, words: int = 2000) -> str:
    rng = random.Random(seed)
    return " ".join(f"word{rng.randrange(3000)}" for _ in range(words))


def kana(seed: int, size: int = 3000) -> str:
    rng = random.Random(seed)
    letters = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん東京都日本語"
    return "".join(rng.choice(letters) for _ in range(size))


@pytest.mark.parametrize("item", [ENGLISH, JAPANESE, HEBREW, THAI, f"次の文を訳せ。{ENGLISH}", f"{JAPANESE} {ENGLISH}"])
def test_an_item_planted_in_a_document_is_found_in_every_script(item: str) -> None:
    table = grams(ENGLISH[::-1], item)
    assert table.found_in(f"{sentences(1)}\n{kana(1)}{item}{kana(2)} {sentences(2)}") == {"set": ["1"]}
    assert table.found_in(f"{sentences(1)}\n{kana(1)}{kana(2)} {sentences(2)}") == {}


@pytest.mark.parametrize(
    ("item", "written"),
    [
        (ENGLISH, ENGLISH.upper().replace(",", " -- ").replace(" ", "\n")),
        (ENGLISH, ENGLISH.replace("48", "４８").replace("sold", "ｓｏｌｄ")),
        (JAPANESE, JAPANESE.replace("、", "").replace("の", "の\n").replace("15", "１５")),
        (JAPANESE, JAPANESE.replace("メートル", "ﾒｰﾄﾙ")),
        (HEBREW, HEBREW.replace(" ", ", ")),
    ],
)
def test_case_spacing_punctuation_and_width_do_not_hide_an_item(item: str, written: str) -> None:
    assert grams(item).found_in(f"before {written} after") == {"set": ["0"]}


def test_a_part_of_an_item_as_long_as_a_gram_is_found_and_a_shorter_one_is_not() -> None:
    words = word_tokens(ENGLISH)
    assert grams(ENGLISH).found_in("so " + " ".join(words[2:15]) + " etc") == {"set": ["0"]}
    assert grams(ENGLISH).found_in("so " + " ".join(words[2:14]) + " etc") == {}
    assert grams(kana(3)).found_in(f"漢{kana(3)[40:73]}漢") == {"set": ["0"]}
    assert grams(kana(3)).found_in(f"漢{kana(3)[40:72]}漢") == {}


def test_an_item_shorter_than_a_gram_is_found_as_a_whole_down_to_eight_words() -> None:
    nine = "how many clips did natalia sell in april altogether"
    table = grams(nine, "how many clips are there", "何個売りましたか")
    assert table.sets[0].too_short == 2
    assert table.lengths == (9,)
    assert table.found_in(f"Q: {nine}? A:") == {"set": ["0"]}
    assert table.found_in(nine.removesuffix("altogether")) == {}
    assert table.found_in("how many clips are there? 何個売りましたか") == {}


def test_grams_shorter_than_eight_words_are_used_where_they_are_asked_for() -> None:
    assert grams("one two three", n=3).found_in("zero one two three four") == {"set": ["0"]}


def test_a_template_that_most_items_have_is_no_contamination() -> None:
    instruction = (
        "Read the following passage with care and then answer the question that comes below it with yes or no:"
    )
    items = [f"{instruction} {sentences(seed, 30)}" for seed in range(40)]
    table = grams(*items)
    assert table.sets[0].common == len(word_tokens(instruction)) - 13 + 1
    assert table.found_in(instruction) == {}
    assert table.found_in(items[7]) == {"set": ["7"]}


def test_a_passage_that_several_questions_share_is_contamination_of_all_of_them() -> None:
    items = [f"{ENGLISH} {sentences(seed, 5)}" for seed in range(25)]
    assert grams(*items).found_in(ENGLISH) == {"set": [str(index) for index in range(25)]}


def test_each_set_has_its_own_finds() -> None:
    table = EvalGrams.build({"en": [("a", ENGLISH)], "empty": [], "ja": [("b", JAPANESE), ("c", THAI)]})
    assert table.found_in(f"{THAI}\n{ENGLISH}") == {"en": ["a"], "ja": ["c"]}
    assert table.found_in("") == {}
    assert EvalGrams.build({}).found_in(ENGLISH) == {}


def test_an_item_across_two_pieces_of_a_long_document_is_found() -> None:
    for padding in (1_048_500, 1_048_550, 1_048_570):
        text = "x" * (padding - 1) + " " + ENGLISH + " tail" * 100
        assert grams(ENGLISH).found_in(text) == {"set": ["0"]}
    assert grams(JAPANESE).found_in("漢" * 1_048_550 + JAPANESE + "字" * 50) == {"set": ["0"]}


def test_the_table_is_the_same_after_it_was_sent_to_another_process() -> None:
    before = grams(ENGLISH, JAPANESE)
    before.found_in(ENGLISH)
    sent = pickle.dumps(DecontaminateStep(before))
    assert len(sent) < 5000, "only the grams are sent, not the table made of them"
    assert pickle.loads(sent).grams.found_in(JAPANESE) == {"set": ["1"]}


def test_the_step_records_and_drops_nothing() -> None:
    step = DecontaminateStep(grams(ENGLISH))
    document = Document("a.txt", f"He said: {ENGLISH}")
    assert step(document).document is document
    assert step(document).facts == {"contaminated": {"set": ["0"]}}
    assert step(Document("b.txt", "nothing of it")).facts == {}


def test_the_report_counts_items_and_documents_and_names_the_items_hit() -> None:
    table = EvalGrams.build({"en": [("a", ENGLISH), ("b", sentences(4, 20)), ("c", "short")], "ja": [("d", JAPANESE)]})
    found = [table.found_in(text) for text in (ENGLISH, f"{ENGLISH} {sentences(4, 20)}", "none")]
    report = contamination_report(table, found)
    assert json.loads(json.dumps(report)) == {
        "ngram": 13,
        "sets": {
            "en": {
                "items": 3,
                "items_hit": 2,
                "too_short": 1,
                "common_grams": 0,
                "documents_hit": 2,
                "hits": ["a", "b"],
            },
            "ja": {"items": 1, "items_hit": 0, "too_short": 0, "common_grams": 0, "documents_hit": 0, "hits": []},
        },
    }


def naive_grams(text: str, words: int) -> set[tuple[str, ...]]:
    """The grams as the definition has them: the shortest runs of tokens that weigh enough."""
    tokens = word_tokens(text)
    weights = [2 if script_of(token[0]) in UNSPACED_SCRIPTS and len(token) == 1 else 5 for token in tokens]
    found = set()
    for start in range(len(tokens)):
        weight, end = 0, start
        while weight < 5 * words and end < len(tokens):
            weight += weights[end]
            end += 1
        if weight >= 5 * words:
            found.add(tuple(tokens[start:end]))
    return found


def naive_found(items: Iterable[str], text: str, n: int) -> list[str]:
    found = []
    for index, item in enumerate(items):
        tokens = word_tokens(item)
        words = sum(2 if script_of(token[0]) in UNSPACED_SCRIPTS and len(token) == 1 else 5 for token in tokens) // 5
        length = min(n, words)
        if words >= min(n, 8) and naive_grams(item, length) & naive_grams(text, length):
            found.append(str(index))
    return found


mixed = st.lists(st.sampled_from(["a", "bc", "日", "本", "の", "Ｘ", "ไ", "ท", "ש", "7", ".", "、"]), max_size=30).map(
    " ".join
)


@given(st.lists(mixed, max_size=4), mixed, st.integers(1, 13))
@settings(max_examples=300)
def test_what_is_found_is_what_a_comparison_of_sets_of_tuples_finds(items: list[str], text: str, n: int) -> None:
    folded = [item.replace("Ｘ", "x") for item in items]
    assert grams(*items, n=n).found_in(text).get("set", []) == naive_found(folded, text.replace("Ｘ", "x"), n)


@given(st.one_of(st.text(max_size=60), mixed), st.integers(1, 13))
def test_equal_grams_have_equal_hashes_and_different_ones_have_different_hashes(text: str, words: int) -> None:
    hashes, weights = weighed_tokens(text)
    found = gram_hashes(hashes, weights, words)
    assert len(set(found.tolist())) == len(naive_grams(normal(text), words))
    assert len(hashes) <= most_tokens(words_in(weights) + 1)


def normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


SQUAD: Mapping[str, object] = {
    "version": "2.0",
    "data": [
        {
            "title": "Temples",
            "paragraphs": [
                {
                    "context": JAPANESE,
                    "qas": [
                        {"id": "q1", "question": "高さは？", "answers": [{"text": "15メートル", "answer_start": 24}]},
                        {"id": "q2", "question": "寺の名は？", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_squads_layout_gives_an_item_per_question_with_its_passage(tmp_path: Path) -> None:
    items = list(read_eval_set(written(tmp_path / "jaquad.json", json.dumps(SQUAD))))
    assert items == [("q1", f"{JAPANESE}\n高さは？\n15メートル"), ("q2", f"{JAPANESE}\n寺の名は？")]


def test_rows_give_all_their_strings_without_those_that_only_describe_them(tmp_path: Path) -> None:
    row = {
        "question": "Q?",
        "answers": {"text": ["A", "B"], "answer_start": [1, 2]},
        "choices": ["C"],
        "source": "x.txt",
    }
    lines: list[dict[str, object]] = [{"id": 7, **row}, {"prompt": "P", "type": "math"}]
    expected = [("7", "Q?\nA\nB\nC"), ("2", "P")]
    assert list(read_eval_set(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))))) == expected
    assert list(read_eval_set(written(tmp_path / "a.json", json.dumps(lines)))) == expected
    columns = {key: [line.get(key) for line in lines] for key in {**lines[0], **lines[1]}}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert list(read_eval_set(tmp_path / "a.parquet")) == expected


def test_tables_and_nested_lists_are_read(tmp_path: Path) -> None:
    assert list(read_eval_set(written(tmp_path / "a.tsv", "id\tquestion\tanswer\nx\tQ\tA\n"))) == [("x", "Q\nA")]
    nested = {"name": "bench", "version": 1, "date": "2024", "questions": [{"question": "Q"}]}
    assert list(read_eval_set(written(tmp_path / "b.json", json.dumps(nested)))) == [("1", "Q")]


def test_plain_text_gives_an_item_per_paragraph_or_else_per_line(tmp_path: Path) -> None:
    assert list(read_eval_set(written(tmp_path / "a.txt", "one\ntwo\n\n \nthree\n"))) == [
        ("1", "one\ntwo"),
        ("2", "three"),
    ]
    assert list(read_eval_set(written(tmp_path / "b.txt", "one\ntwo\n"))) == [("1", "one"), ("2", "two")]


def test_a_file_that_cannot_be_read_as_an_evaluation_set_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(read_eval_set(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="bad.jsonl:2"):
        list(read_eval_set(written(tmp_path / "bad.jsonl", '{"question": "Q"}\n{"question": \n')))
    with pytest.raises(DataError, match="no items"):
        list(read_eval_set(written(tmp_path / "empty.jsonl", "\n")))
    with pytest.raises(DataError, match="cannot be html"):
        list(read_eval_set(written(tmp_path / "a.html", "<html></html>")))
    (tmp_path / "a.txt").write_bytes(b"\x1f\x8b\x08\x00" + bytes(range(256)))
    with pytest.raises(DataError, match="gzip"):
        list(read_eval_set(tmp_path / "a.txt"))
