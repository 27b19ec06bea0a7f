import inspect
import sysconfig
from pathlib import Path

import pytest

from llmkit.errors import DataError
from llmkit.evaluation.kinds.retrieval import Place
from llmkit.evaluation.questions import Row, docstring_questions, qa_items, retrieval_items
from llmkit.text.document import Document, Span


def rows(*records):
    return [Row(f"q.jsonl:{n}", record) for n, record in enumerate(records, start=1)]


def test_gold_answers_may_be_one_or_many_or_in_squads_form():
    items = qa_items(
        rows(
            {"question": "a", "answer": "x"},
            {"question": "b", "answers": ["x", "y"], "id": 7, "title": "Normans"},
            {"question": "c", "answers": {"text": ["x", "x"], "answer_start": [1, 9]}, "context": "ignored"},
            {"question": "d", "answers": {"text": [], "answer_start": []}},
        )
    )
    assert [item.answers for item in items] == [("x",), ("x", "y"), ("x", "x"), ("",)]
    assert [(item.id, item.cluster) for item in items] == [("1", ""), ("7", "Normans"), ("3", ""), ("4", "")]


def test_relevant_places_may_be_one_source_or_spans():
    items = retrieval_items(
        rows(
            {"question": "a", "source": "x.py"},
            {"question": "b", "source": "x.py", "start": 3, "end": 9},
            {"question": "c", "relevant": [{"source": "x.py"}, {"source": "y.py", "start": 0, "end": 1}]},
        )
    )
    assert [item.relevant for item in items] == [
        (Place("x.py"),),
        (Place("x.py", Span(3, 9)),),
        (Place("x.py"), Place("y.py", Span(0, 1))),
    ]


@pytest.mark.parametrize(
    ("read", "record", "message"),
    [
        (qa_items, {"question": "a"}, "q.jsonl:1: the record has no `answers`"),
        (qa_items, {"q": "a", "answers": "x"}, "q.jsonl:1: the record has no `question`"),
        (qa_items, {"question": "", "answers": "x"}, "`question`: String should have at least 1"),
        (qa_items, {"question": "a", "answers": None}, "`answers`: Input should be"),
        (retrieval_items, {"question": "a"}, "the record has no `relevant`"),
        (retrieval_items, {"question": "a", "source": "x", "start": 3}, "`start` and `end` go together"),
        (retrieval_items, {"question": "a", "source": "x", "start": 3, "end": 3}, "`end` must be after `start`"),
        (retrieval_items, {"question": "a", "relevant": []}, "should have at least 1 item"),
    ],
)
def test_a_record_that_is_no_question_is_named(read, record, message):
    with pytest.raises(DataError) as caught:
        read(rows(record))
    assert message in str(caught.value)
    assert caught.value.mend


def test_docstrings_of_the_standard_library_ask_for_their_own_definitions():
    path = Path(sysconfig.get_path("stdlib")) / "textwrap.py"
    document = Document(str(path), path.read_text("utf-8"))
    items = docstring_questions([document])
    import textwrap

    wanted = {item.question: item for item in items}[
        "Wrap a single paragraph of text, returning a list of wrapped lines."
    ]
    (place,) = wanted.relevant
    assert document.text[place.span.start : place.span.end] == inspect.getsource(textwrap.wrap)
    assert wanted.cluster == str(path)


def test_methods_and_definitions_after_form_feeds_are_found_where_they_are():
    text = '\x0cclass A:\r\n    def f(self):\r\n        """Do the one thing well."""\r\n\x0c\r\n    x = 1'
    (item,) = docstring_questions([Document("a.py", text)])
    (place,) = item.relevant
    assert text[place.span.start : place.span.end] == '    def f(self):\r\n        """Do the one thing well."""\r\n'


def test_lines_that_are_shared_or_short_ask_nothing():
    shared = 'def {0}():\n    """Say something very common indeed."""\n'
    text = shared.format("a") + shared.format("b") + 'def c():\n    """Return it."""\n'
    assert docstring_questions([Document("a.py", text)]) == []


def test_a_file_that_is_not_python_has_no_questions():
    assert (
        docstring_questions([Document("a.py", "def :"), Document("b.py", "\x00"), Document("c.py", "(" * 5000)]) == []
    )
