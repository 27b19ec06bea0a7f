"""Python source to training pairs: a function's source without its docstring -> the first line of its docstring."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmkit.data.chat import Example, Message
from llmkit.data.drops import Drop
from llmkit.text.document import Document

_LINE_END = re.compile(r"\r\n?|\n")

Skipped = Literal["undocumented", "trivial", "too_long", "too_short", "irregular"]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class DocstringOptions:
    """A function makes a pair if it has at most `max_chars`, and its docstring's first line at least `min_words`."""

    max_chars: int = 1500
    min_words: int = 3


@dataclass(frozen=True)
class Pairs:
    """The pairs of one file, the file itself as a drop if it is no Python, and how many functions make no pair."""

    examples: Sequence[Example] = ()
    drops: Sequence[Drop] = ()
    skipped: Mapping[Skipped, int] = field(default_factory=dict)


def docstring_pairs(document: Document, options: DocstringOptions) -> Pairs:
    """The pairs of a Python source, functions and methods in order; functions inside functions are part of those.

    An example's record is the function's qualified name (with `@line` if the file defines it more than once); its
    meta has `line`, that of the `def`, and `docstring_line`, that of the line which is the completion.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's source
            tree = ast.parse(document.text)
    except SyntaxError as error:
        detail = f"line {error.lineno}: {error.msg}"
        return Pairs(drops=[Drop(document.source, "docstrings", "invalid_syntax", detail, document.record)])
    except (ValueError, RecursionError, MemoryError) as error:
        return Pairs(drops=[Drop(document.source, "docstrings", "invalid_syntax", str(error), document.record)])
    lines = _LINE_END.split(document.text)
    skipped: Counter[Skipped] = Counter()
    examples: dict[str, Example] = {}
    for name, function in _functions(tree, ""):
        pair = _pair(lines, function, options)
        if isinstance(pair, str):
            skipped[pair] += 1
            continue
        record = name if name not in examples else f"{name}@{function.lineno}"
        examples[record] = Example(document.source, record, pair.messages, meta=pair.meta)
    return Pairs(list(examples.values()), skipped=skipped)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield prefix + child.name, child
            case ast.ClassDef():
                yield from _functions(child, f"{prefix}{child.name}.")
            case ast.If() | ast.Try() | ast.With() | ast.ExceptHandler():
                yield from _functions(child, prefix)


@dataclass(frozen=True)
class _Pair:
    messages: tuple[Message, Message]
    meta: Mapping[str, object]


def _pair(lines: Sequence[str], function: Function, options: DocstringOptions) -> _Pair | Skipped:
    docstring = ast.get_docstring(function, clean=True)
    if docstring is None or not docstring.strip():
        return "undocumented"
    if all(map(_says_nothing, function.body[1:])):
        return "trivial"
    summary = docstring.strip().split("\n")[0].strip()
    if len(summary.split()) < options.min_words:
        return "too_short"
    start, end = function.body[0].lineno, function.body[0].end_lineno or 0
    first, last = function.lineno, function.end_lineno or 0
    if start <= function.lineno or function.body[1].lineno <= end:
        return "irregular"  # the docstring shares a line with code, so it cannot be cut out by lines
    indent = lines[first - 1][: function.col_offset]
    source = "\n".join(line.removeprefix(indent) for line in (*lines[first - 1 : start - 1], *lines[end:last]))
    if len(source) > options.max_chars:
        return "too_long"
    docstring_line = next((n for n in range(start, end + 1) if summary in lines[n - 1]), start)
    meta = {"line": first, "docstring_line": docstring_line}
    return _Pair((Message("user", source), Message("assistant", summary)), meta)


def _says_nothing(statement: ast.stmt) -> bool:
    """`pass`, `...`, `raise NotImplementedError`: a body from which nothing follows about what the function does."""
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError"))):
            return True
    return False
