"""Functions and classes of source code, found by grammars that others wrote."""

from __future__ import annotations

import pytest

from llmkit.retrieval.grammars import GRAMMARS, units
from llmkit.retrieval.structure import blocks
from llmkit.text.document import Document

SOURCES = {
    "text/x-javascript": (
        "import x from 'y';\n\n/** Adds. */\nexport default class A {\n  // of m\n  m() { return '}' }\n}\n"
        "const f = async () => { return `}{`; };\nexport function g() { function inner() {} }\n"
        "module.exports.h = function () {};\nlet a = 1;\n",
        ["A", "A.m", "f", "g", "module.exports.h"],
    ),
    "text/x-typescript": (
        "export abstract class A<T> {\n  private m(): void {}\n}\ninterface I { a(): void }\n"
        "namespace N {\n  export function q() {}\n}\nexport const k = (a: number) => a;\n",
        ["A", "A.m", "I", "N", "N.q", "k"],
    ),
    "text/x-c": (
        "static int\nfoo(void)\n{\n  return 1;\n}\n\n/* of bar */\nchar *bar(int a, struct S *s) { return 0; }\n"
        "struct T { int x; };\n#ifdef X\nint y(void) { return 0; }\n#endif\n",
        ["foo", "bar", "T", "y"],
    ),
    "text/x-c++": (
        "namespace n {\ntemplate<class T>\nclass A : B {\npublic:\n  void m() {}\n  ~A() {}\n};\n}\n"
        "// of z\nvoid n::A::z(int *p) const {}\nstruct P *g;\n",
        ["n", "n.A", "n.A.m", "n.A.~A", "n.A.z"],
    ),
    "text/x-csharp": (
        "namespace N {\n  class C {\n    public C() {}\n    [A]\n    void M() {}\n  }\n}\n",
        ["N", "N.C", "N.C.C", "N.C.M"],
    ),
    "text/x-go": (
        "package a\n\n// Do it. 日本語\nfunc (s *Srv) Do(x int) error { return nil }\n\ntype (\n\tA int\n"
        "\tB struct { s string }\n)\nfunc F() {}\n",
        ["Srv.Do", "A", "B", "F"],
    ),
    "text/x-java": (
        "package a;\n/** of A */\n@X\npublic class A {\n  A() {}\n  void m() {}\n  class B { int z() { return 1; } }\n"
        "}\n",
        ["A", "A.A", "A.m", "A.B", "A.B.z"],
    ),
    "text/x-php": (
        "<?php\n/** of C */\nclass C {\n  public function m() {}\n}\nfunction f() {}\n",
        ["C", "C.m", "f"],
    ),
    "text/x-ruby": (
        "module A\n  class B < C\n    def m; end\n    def self.n\n    end\n  end\nend\nputs 1\n",
        ["A", "A.B", "A.B.m", "A.B.n"],
    ),
    "text/x-rust": (
        "use a;\n#[derive(Debug)]\nstruct S { x: i32 }\nimpl S {\n    /// of m\n    fn m(&self) {}\n}\n"
        "mod t {\n    fn x() {}\n}\n",
        ["S", "S", "S.m", "t", "t.x"],
    ),
}  # fmt: skip


def test_every_language_of_the_table_has_a_text_here() -> None:
    assert {*SOURCES, "application/javascript"} == set(GRAMMARS)


@pytest.mark.parametrize("media", SOURCES)
def test_definitions_have_their_qualified_names_and_begin_at_their_comments(media: str) -> None:
    text, names = SOURCES[media]
    document = Document("/src/mod.x", text, media)
    tiled = blocks(document)
    assert "".join(text[block.start : block.end] for block in tiled) == text
    assert [name for name in dict.fromkeys(_names(document)) if name] == list(dict.fromkeys(names))
    for block in tiled:
        held = text[block.start : block.end]
        if " of " in held:  # the comments above say what they are of
            assert block.headings[-1].split(".")[-1] in held.split(" of ")[1]
            assert held.lstrip().startswith(("//", "/*"))


def _names(document: Document) -> list[str]:
    return [block.headings[-1].removeprefix("mod").removeprefix(".") for block in blocks(document)]


def test_a_header_of_cpp_and_a_file_of_tsx_are_read_as_what_they_are() -> None:
    header = "class A {\npublic:\n  void m() {}\n};\n"
    assert [unit.name for unit in units("\n" + header, "text/x-c", "a.h") or []][:2] == ["A", "A.m"]
    component = "export function App() {\n  return <div>{a}</div>;\n}\nfunction next() {}\n"
    assert [unit.name for unit in units(component, "text/x-typescript", "a.tsx") or [] if unit.name] == ["App", "next"]


@pytest.mark.parametrize(
    "text", ["", "func (", "}" * 1000, "{" * 3000, "func F() {\n" * 300, "日本 \ud800 func F() {}\n"]
)
def test_what_does_not_compile_is_cut_all_the_same(text: str) -> None:
    document = Document("/src/mod.go", text, "text/x-go")
    assert "".join(text[block.start : block.end] for block in blocks(document)) == text


def test_without_a_grammar_or_when_it_is_huge_it_is_lines() -> None:
    assert units("fn x", "text/x-zig", "a.zig") is None
    assert units("int a;\n" * 600_000, "text/x-c", "a.c") is None
    (block,) = blocks(Document("/src/a.zig", "fn x\n", "text/x-zig"))
    assert block.code
