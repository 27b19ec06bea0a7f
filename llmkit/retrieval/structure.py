"""How a document is built: headings and code units. Blocks tile the text and say under which headings they stand."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from llmkit.retrieval.grammars import Unit, units
from llmkit.text.document import Document

LONGEST_PARSED = 2_000_000
"""Code points of Python that are parsed: `ast` needs some 300 bytes of memory for each byte of source."""

_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})")
_ATX = re.compile(r"^[ ]{0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"^[ ]{0,3}(=+|-{2,})[ \t]*$")


class Block(NamedTuple):
    """`text[start:end]` under `headings`, outermost first. Lines of code are not joined into sentences."""

    start: int
    end: int
    headings: tuple[str, ...]
    code: bool = False


def blocks(document: Document) -> list[Block]:
    """Blocks of the document by its media type, in order; together they are the whole text."""
    reader = READERS.get(document.media) or (_source_code if document.media.startswith("text/x-") else _plain)
    title = _title(document)
    return [block for block in reader(document, (title,) if title else ()) if block.start < block.end]


def _title(document: Document) -> str:
    title = document.meta.get("title")
    if isinstance(title, str) and title.strip():
        return " ".join(title.split())
    if document.record:
        return ""
    path = PurePosixPath(document.source.replace("\\", "/"))
    # A package's module is known by its folder: json/__init__.py is json.
    return path.parent.name if path.stem == "__init__" else path.stem


def _plain(document: Document, headings: tuple[str, ...]) -> Iterator[Block]:
    yield Block(0, len(document.text), headings)


def _lines(document: Document, headings: tuple[str, ...]) -> Iterator[Block]:
    yield Block(0, len(document.text), headings, code=True)


def _markdown(document: Document, headings: tuple[str, ...]) -> Iterator[Block]:
    """One block per section; `#` inside a fenced block is no heading (CommonMark 0.31, ATX and setext headings)."""
    text = document.text
    path: list[tuple[int, str]] = []
    start = offset = 0
    fence = ""
    previous = ""
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        if opened := _FENCE.match(bare):
            mark = opened.group(1)
            if not fence:
                fence = mark
            elif mark[0] == fence[0] and len(mark) >= len(fence):
                fence = ""
        found = _heading(bare, previous) if not fence else None
        if found is not None:
            level, name, lines_back = found
            begin = offset - lines_back
            yield Block(start, begin, (*headings, *(title for _, title in path)))
            path = [entry for entry in path if entry[0] < level] + [(level, name)]
            start = begin
        previous = line
        offset += len(line)
    yield Block(start, len(text), (*headings, *(title for _, title in path)))


def _heading(line: str, previous: str) -> tuple[int, str, int] | None:
    """Level, name, and how many code points before this line the heading begins."""
    if atx := _ATX.match(line):
        return len(atx.group(1)), atx.group(2), 0
    under = _UNDERLINE.match(line)
    name = previous.strip()
    if under and name and not name.startswith(("#", ">", "-", "*", "|", "`")):
        return (1 if under.group(1)[0] == "=" else 2), name, len(previous)
    return None


def _python(document: Document, headings: tuple[str, ...]) -> Iterator[Block]:
    """One block per function and method, one per class header, one per stretch of module code between them."""
    text = document.text
    tree = _parsed(text)
    if tree is None:
        yield from _lines(document, headings)
        return
    starts = _line_starts(text)
    module = headings[-1] if headings else ""
    package = PurePosixPath(document.source.replace("\\", "/")).parent.name
    if package.isidentifier() and not document.record and package != module:
        # Most questions name the package: `asyncio.gather` stands in asyncio/tasks.py.
        module = f"{package}.{module}"
    yield from _of_units(
        [Unit(starts[line - 1], name) for line, name in _units(tree, "", text, starts)],
        len(text),
        (*headings[:-1], module),
    )


def _source_code(document: Document, headings: tuple[str, ...]) -> Iterator[Block]:
    """The same of another language, if there is a grammar of it; else one block of lines."""
    found = units(document.text, document.media, document.source)
    if found is None:
        yield from _lines(document, headings)
    else:
        yield from _of_units(found, len(document.text), headings)


def _of_units(found: Sequence[Unit], length: int, headings: tuple[str, ...]) -> Iterator[Block]:
    """Blocks of code, each under its unit's qualified name in place of the last heading."""
    *outer, module = headings or ("",)
    cuts = [Unit(0, "")]
    for unit in found:
        # `class A: pass; class B: pass` on one line: the second begins before the first one's last line is over.
        cuts.append(Unit(max(cuts[-1].start, unit.start), unit.name))
    for (start, name), (end, _) in pairwise([*cuts, Unit(length, "")]):
        qualified = ".".join(part for part in (module, name) if part)
        yield Block(start, end, (*outer, qualified) if qualified else headings, code=True)


def _parsed(text: str) -> ast.Module | None:
    if len(text) > LONGEST_PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _units(tree: ast.AST, outer: str, text: str, starts: list[int]) -> Iterator[tuple[int, str]]:
    """(line at which it begins, qualified name) of each function and class, and of what follows each."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{outer}.{node.name}" if outer else node.name
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield _with_comments(first, text, starts), name
            if isinstance(node, ast.ClassDef):
                yield from _units(node, name, text, starts)
            if node.end_lineno is not None and node.end_lineno < len(starts):
                yield node.end_lineno + 1, outer
        elif isinstance(node, ast.stmt | ast.ExceptHandler):
            # Definitions stand under `if` and `try` as well.
            yield from _units(node, outer, text, starts)


def _with_comments(line: int, text: str, starts: list[int]) -> int:
    """A comment right above a definition belongs to it."""
    while line > 1 and text[starts[line - 2] : starts[line - 1]].lstrip().startswith("#"):
        line -= 1
    return line


def _line_starts(text: str) -> list[int]:
    # The lines that `ast` counts end at \n, \r\n and \r, as LineMap's do.
    return [0, *(match.end() for match in re.finditer(r"\r\n?|\n", text))]


READERS: Mapping[str, Callable[[Document, tuple[str, ...]], Iterator[Block]]] = {
    "text/x-python": _python,
    "text/markdown": _markdown,
    "text/x-rst": _markdown,
    "text/x-tex": _plain,
    "application/json": _lines,
    "application/javascript": _source_code,
}
"""By media type. Of the others, what is `text/x-…` is source code; the rest is prose."""
