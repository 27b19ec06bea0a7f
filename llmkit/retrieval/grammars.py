"""Where functions and classes begin in source code of many languages, told by their tree-sitter grammars.

Tree-sitter (MIT) parses what does not compile too, in linear time, and each grammar is a small wheel of its own that
needs no network once it is installed. `tree-sitter-language-pack` would bring more languages, but it fetches its
parsers at run time. A rule of our own over braces would have to know every language's strings and comments.
Python is not here: `ast` is exact (see `structure`). Languages without a row are cut by their lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

LONGEST_PARSED = 4_000_000
"""Bytes that are parsed: a syntax tree takes many times the memory of its source. What is longer is generated code."""


class Unit(NamedTuple):
    """A function or class, or what follows one, from `start` (code points) on under `name` (qualified)."""

    start: int
    name: str


class _Grammar(NamedTuple):
    module: str
    function: str = "language"


_C, _CPP = _Grammar("tree_sitter_c"), _Grammar("tree_sitter_cpp")
_JAVASCRIPT = _Grammar("tree_sitter_javascript")
_TYPESCRIPT = _Grammar("tree_sitter_typescript", "language_typescript")
_TSX = _Grammar("tree_sitter_typescript", "language_tsx")

GRAMMARS: Mapping[str, _Grammar] = {
    "text/x-c": _C,
    "text/x-c++": _CPP,
    "text/x-csharp": _Grammar("tree_sitter_c_sharp"),
    "text/x-go": _Grammar("tree_sitter_go"),
    "text/x-java": _Grammar("tree_sitter_java"),
    "text/x-javascript": _JAVASCRIPT,
    "application/javascript": _JAVASCRIPT,
    "text/x-php": _Grammar("tree_sitter_php", "language_php"),
    "text/x-ruby": _Grammar("tree_sitter_ruby"),
    "text/x-rust": _Grammar("tree_sitter_rust"),
    "text/x-typescript": _TYPESCRIPT,
}
"""By media type."""

# Names of nodes, from the `node-types.json` of the grammars. Signatures without a body stay with what declares them.
_FUNCTION_NODES = """
    function_definition function_declaration generator_function_declaration method_declaration method_definition
    constructor_declaration destructor_declaration compact_constructor_declaration operator_declaration function_item
    macro_definition method singleton_method
"""
_TYPE_NODES = """
    class_declaration abstract_class_declaration class_specifier struct_specifier union_specifier class_definition
    class module interface_declaration trait_declaration enum_declaration record_declaration struct_declaration
    namespace_declaration namespace_definition internal_module struct_item enum_item union_item trait_item impl_item
    mod_item type_spec annotation_type_declaration
"""
_WRAPPER_NODES = """
    export_statement template_declaration lexical_declaration variable_declaration expression_statement
    type_declaration type_definition declaration
"""
_INSIDE_NODES = """
    declaration_list class_body interface_body enum_body enum_body_declarations field_declaration_list body_statement
    statement_block preproc_ifdef preproc_if preproc_else preproc_elif linkage_specification ERROR
"""
_BEFORE_NODES = """
    comment line_comment block_comment attribute_item attribute_list decorator annotation marker_annotation
"""
_VALUE_NODES = "arrow_function function_expression function generator_function class"
_NAME_NODES = """
    identifier field_identifier qualified_identifier destructor_name operator_name type_identifier operator_cast
    template_function
"""
_FUNCTIONS, _TYPES = frozenset(_FUNCTION_NODES.split()), frozenset(_TYPE_NODES.split())
_WRAPPERS = frozenset(_WRAPPER_NODES.split())
"""A definition begins with the one that it stands in."""
_INSIDE = frozenset(_INSIDE_NODES.split()) | _WRAPPERS
"""Nodes in which definitions stand without being named by them."""
_BEFORE, _VALUES, _NAMED = (frozenset(n.split()) for n in (_BEFORE_NODES, _VALUE_NODES, _NAME_NODES))
_WITHOUT_BODY = frozenset({"type_spec", "struct_item", "record_declaration"})
_LONGEST_NAME = 120
_DEEPEST = 40


def units(text: str, media: str, source: str) -> list[Unit] | None:
    """Functions, methods and classes of a source text in order, each with the comment above it; None without a grammar.

    Where a definition ends, what follows begins as a unit under the name of what encloses it.
    """
    grammar = GRAMMARS.get(media)
    if grammar is None or (4 * len(text) > LONGEST_PARSED and len(text.encode("utf-8", "replace")) > LONGEST_PARSED):
        return None
    if grammar == _TYPESCRIPT and PurePosixPath(source).suffix.lower() == ".tsx":
        grammar = _TSX
    if grammar == _C and _looks_like_cpp(text):
        grammar = _CPP
    # Lone surrogates become as many question marks, so that nothing moves.
    data = text.encode("utf-8", "replace")
    tree = _parser(grammar).parse(data)
    found = sorted(_walk(tree.root_node, data, "", 0), key=lambda unit: unit.start)
    return list(_in_code_points(found, data, text.isascii()))


def _looks_like_cpp(text: str) -> bool:
    """A header's name does not say which of the two it is in."""
    return any(sign in text for sign in ("\nclass ", "namespace ", "template<", "template <", "public:", "std::"))


@cache
def _parser(grammar: _Grammar) -> Parser:
    from tree_sitter import Language, Parser

    made: Any = getattr(import_module(grammar.module), grammar.function)
    return Parser(Language(made()))


def _walk(node: Node, data: bytes, outer: str, depth: int) -> Iterator[Unit]:
    """Units below a node, in bytes."""
    if depth > _DEEPEST:
        return
    for child in node.named_children:
        kind = child.type
        if kind in _FUNCTIONS or kind in _TYPES or _is_named_value(child):
            name = _name(child, data)
            if not name or (kind in _TYPES and not _has_body(child)):
                continue
            qualified = f"{outer}.{name}" if outer else name
            yield Unit(_begin(child, data), qualified)
            if kind in _TYPES:
                yield from _walk(child, data, qualified, depth + 1)
            yield Unit(_line_after(child.end_byte, data), outer)
        elif kind in _INSIDE:
            yield from _walk(child, data, outer, depth + 1)


def _is_named_value(node: Node) -> bool:
    """`const f = () => …`, `A.prototype.b = function …`."""
    value = node.child_by_field_name(
        {"variable_declarator": "value", "assignment_expression": "right"}.get(node.type, "")
    )
    return value is not None and value.type in _VALUES


def _has_body(node: Node) -> bool:
    """`struct A *a;` names a type and defines none."""
    return node.child_by_field_name("body") is not None or node.type in _WITHOUT_BODY


def _name(node: Node, data: bytes) -> str:
    field = {"assignment_expression": "left", "impl_item": "type"}.get(node.type, "name")
    named = node.child_by_field_name(field)
    if named is None:
        named = node.child_by_field_name("declarator")
        while named is not None and named.type not in _NAMED:
            inner = named.child_by_field_name("declarator")
            named = inner if inner is not None else next((c for c in named.named_children if c.type in _NAMED), None)
    if named is None:
        return ""
    name = _text(named, data)
    receiver = node.child_by_field_name("receiver")
    if receiver is not None and (kinds := [c for c in _below(receiver) if c.type == "type_identifier"]):
        name = f"{_text(kinds[0], data)}.{name}"
    return name.replace("::", ".")[:_LONGEST_NAME]


def _below(node: Node) -> Iterator[Node]:
    for child in node.named_children:
        yield child
        yield from _below(child)


def _text(node: Node, data: bytes) -> str:
    return " ".join(data[node.start_byte : node.end_byte].decode("utf-8", "replace").split())


def _begin(node: Node, data: bytes) -> int:
    """Where a definition begins: with its wrapper, and with the comments and attributes right above it."""
    while node.parent is not None and node.parent.type in _WRAPPERS and node.parent.named_children[0] == node:
        node = node.parent
    while node.parent is not None and node.parent.type in ("export_statement", "template_declaration"):
        node = node.parent
    first = node
    while (before := first.prev_named_sibling) is not None and before.type in _BEFORE:
        if before.end_point.row < first.start_point.row - 1 or not _alone(before, data):
            break
        first = before
    start = data.rfind(b"\n", 0, first.start_byte) + 1
    return start if not data[start : first.start_byte].strip() else first.start_byte


def _alone(node: Node, data: bytes) -> bool:
    """Whether nothing stands before it on its line: a comment after code belongs to that."""
    start = data.rfind(b"\n", 0, node.start_byte) + 1
    return not data[start : node.start_byte].strip()


def _line_after(end: int, data: bytes) -> int:
    """Where what follows a definition begins: on the next line if the rest of this one is only its end."""
    stop = data.find(b"\n", end)
    stop = len(data) if stop < 0 else stop + 1
    return stop if not data[end:stop].strip(b" \t\r\n;,)}") else end


def _in_code_points(found: list[Unit], data: bytes, ascii_only: bool) -> Iterator[Unit]:
    at = points = 0
    for start, name in found:
        points += start - at if ascii_only else len(data[at:start].decode("utf-8", "ignore"))
        at = start
        yield Unit(points, name)
