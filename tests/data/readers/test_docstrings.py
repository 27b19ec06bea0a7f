import ast
import sysconfig
from pathlib import Path

from llmkit.data.readers.docstrings import DocstringOptions, docstring_pairs
from llmkit.text.document import Document

SOURCE = '''\
"""A module."""


class Box:
    """Holds things."""

    def __init__(self, things):
        """Put the given things in."""
        self.things = list(things)

    @property
    def size(self):
        """
        Count the things inside.

        Slow for large boxes.
        """
        def helper():
            """Not a pair of its own."""
            return 1
        return len(self.things) * helper()

    def undocumented(self):
        return 1

    def trivial(self):
        """Does nothing at all."""
        raise NotImplementedError


async def fetch(url):
    """Fetch the page at a URL."""
    return await get(url)


def oneline(x): "Shares its line with code."; return x


def terse(x):
    """Terse."""
    return x
'''


def pairs(text: str, **options: int):
    return docstring_pairs(Document("/src/box.py", text, media="text/x-python"), DocstringOptions(**options))


def test_a_documented_function_becomes_source_and_first_line() -> None:
    found = {example.record: example for example in pairs(SOURCE).examples}
    assert set(found) == {"Box.__init__", "Box.size", "fetch"}
    assert found["Box.__init__"].prompt[0].content == "def __init__(self, things):\n    self.things = list(things)"
    assert found["Box.size"].completion == "Count the things inside."
    assert "Slow for large boxes" not in found["Box.size"].prompt[0].content
    assert "def helper" in found["Box.size"].prompt[0].content


def test_the_lines_in_the_meta_are_those_of_the_file() -> None:
    lines = SOURCE.split("\n")
    for example in pairs(SOURCE).examples:
        assert f"def {example.record.split('.')[-1]}" in lines[int(str(example.meta["line"])) - 1]
        assert example.completion in lines[int(str(example.meta["docstring_line"])) - 1]


def test_functions_that_make_no_pair_are_counted_by_reason() -> None:
    assert pairs(SOURCE).skipped == {"undocumented": 1, "trivial": 1, "irregular": 1, "too_short": 1}
    assert pairs(SOURCE, max_chars=50).skipped["too_long"] == 2


def test_what_is_no_python_is_dropped_with_the_line() -> None:
    result = pairs("def f(:\n    pass\n")
    assert (result.drops[0].reason, result.examples) == ("invalid_syntax", ())
    assert "line 1" in result.drops[0].detail
    assert pairs("x = 1\0").drops[0].reason == "invalid_syntax"
    assert pairs("(" * 100_000).drops[0].reason == "invalid_syntax"


def test_a_name_defined_twice_gives_two_records() -> None:
    twice = (
        'def f():\n    """Says one thing."""\n    return 1\n\ndef f():\n    """Says another thing."""\n    return 2\n'
    )
    assert [example.record for example in pairs(twice).examples] == ["f", "f@5"]


def test_pairs_of_the_standard_library_are_python_and_agree_with_ast() -> None:
    """Oracle: `ast.get_docstring` on the real source, and the compiler on what is left of it."""
    for name in ("ast.py", "shutil.py", "statistics.py", "zipfile.py"):
        path = Path(sysconfig.get_path("stdlib")) / name
        text = path.read_text(encoding="utf-8")
        docstrings = {
            (ast.get_docstring(node) or "").split("\n")[0].strip()
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef)
        }
        found = docstring_pairs(Document(str(path), text, media="text/x-python"), DocstringOptions()).examples
        assert len(found) > 5
        for example in found:
            assert example.completion in docstrings
            ast.parse(example.prompt[0].content)
            assert example.completion in text.split("\n")[int(str(example.meta["docstring_line"])) - 1]
