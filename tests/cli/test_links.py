"""Links to a line, in the form that the terminal at hand knows; and quotes with what is marked in them."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from llmkit.cli.links import line_link
from llmkit.cli.render import print_blocks
from llmkit.reporting.blocks import Quote
from llmkit.reporting.inert import inert_json
from llmkit.reporting.page import page

FILE = "file:///docs/a%20b.md"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, FILE),
        ({"KITTY_WINDOW_ID": "1"}, f"{FILE}#7"),
        ({"TERM": "xterm-kitty"}, f"{FILE}#7"),
        ({"TERM_PROGRAM": "vscode"}, "vscode://file/docs/a%20b.md:7"),
        (
            {"TERM_PROGRAM": "vscode", "VSCODE_GIT_ASKPASS_NODE": "/Applications/Cursor.app/node"},
            "cursor://file/docs/a%20b.md:7",
        ),
    ],
)
def test_the_line_is_in_the_link_where_the_terminal_takes_it(environ: dict[str, str], expected: str) -> None:
    assert line_link(FILE, 7, environ) == expected
    assert line_link(FILE, 0, environ) == FILE
    assert line_link("https://x.example/a", 7, environ) == "https://x.example/a"


def shown(quote: Quote, *, colour: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=colour, color_system="standard" if colour else None)
    print_blocks(console, [quote])
    return out.getvalue()


MARKED = Quote("It is about 15 metres\nhigh, they say.", "[1] a.txt:3", FILE, 3, marked=((12, 26),))


def test_a_marked_answer_is_bold_on_a_terminal_and_between_signs_in_a_pipe() -> None:
    assert re.search("\x1b\\[1;4m15 metres\x1b\\[0m\n\x1b\\[1;4m  high\x1b\\[0m, they say", shown(MARKED, colour=True))
    assert "about ⟦15 metres\n  high⟧, they say." in shown(MARKED, colour=False)


def test_a_terminal_gets_a_link_and_a_pipe_the_place_alone() -> None:
    assert "\x1b]8;" in shown(MARKED, colour=True) and FILE in shown(MARKED, colour=True)
    assert shown(MARKED, colour=False).startswith("[1] a.txt:3\n")


def test_a_page_marks_it_too_and_escapes_around_it() -> None:
    drawn = page("t", [Quote("<b> 15 & <i>", marked=((4, 6),))])
    assert "&lt;b&gt; <mark>15</mark> &amp; &lt;i&gt;" in drawn


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_says_the_same_without_control_characters(value: object) -> None:
    written = inert_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(written) == value
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written)
