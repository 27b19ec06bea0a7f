"""Blocks as one self-contained HTML page: style and pictures inside it, no script, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from llmkit.reporting.blocks import Bars, Block, Diff, Figures, Fold, Heading, Line, Marked, Plot, Quote, Table, Tree
from llmkit.reporting.curves import plot_svg
from llmkit.reporting.diffing import diff_lines, visible
from llmkit.reporting.figures import number
from llmkit.reporting.markup import escaped, isolated
from llmkit.reporting.style import CSS
from llmkit.reporting.svg import bars_svg

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Whatever got past the escaping could still neither run nor fetch anything."""

_WORTH_CONTENTS = 3
"""Sections from which a page lists them at its top."""

_DIFF_CLASSES = {"-": "gone", "+": "came", "@": "between"}
_INK_TAGS = {"read": "span", "learned": "ins", "cut": "del"}
_DIFF_TAGS = {"-": "del", "+": "ins"}


def page(title: str, blocks: Sequence[Block], *, lead: str = "") -> str:
    """The whole HTML document, to be written as UTF-8. Equal arguments give equal pages.

    Args:
        title: of the document and its first heading.
        blocks: what is shown, in order; `Heading`s of level 1 begin sections.
        lead: a sentence under the title.
    """
    head = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n'
        f"<title>{escaped(title)}</title>\n<style>{CSS}</style>\n</head>\n"
    )
    under = f'<p class="lead">{isolated(lead)}</p>' if lead else ""
    drawer = _Page()
    body = "\n".join(drawer.draw(block) for block in blocks)
    opening = f"<body>\n<header><h1>{isolated(title)}</h1>{under}{_contents(blocks)}</header>\n"
    return f"{head}{opening}<main>\n{body}\n</main>\n<footer>Made by llmkit.</footer>\n</body>\n</html>\n"


def _contents(blocks: Sequence[Block]) -> str:
    sections = [block.text for block in blocks if isinstance(block, Heading) and block.level == 1]
    if len(sections) < _WORTH_CONTENTS:
        return ""
    items = "".join(f'<li><a href="#s{n}">{isolated(text)}</a></li>' for n, text in enumerate(sections, start=1))
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


class _Page:
    """Draws blocks one after another; numbers the sections and the pictures."""

    def __init__(self) -> None:
        self._sections = count(1)
        self._pictures = count(1)

    def draw(self, block: Block) -> str:
        match block:
            case Line(text, style):
                return f'<p class="{style}">{isolated(text)}</p>' if text else ""
            case Heading(text, 1):
                return f'<h2 id="s{next(self._sections)}">{isolated(text)}</h2>'
            case Heading(text):
                return f"<h3>{isolated(text)}</h3>"
            case Quote():
                return _quote(block)
            case Table():
                return _table(block)
            case Tree():
                return f'<ul class="tree">{_tree(block)}</ul>'
            case Figures(items):
                return f'<dl class="figures">{"".join(_figure(*item) for item in items)}</dl>'
            case Bars():
                return self._bars(block)
            case Plot():
                return self._plot(block)
            case Diff():
                return _diff(block)
            case Marked():
                return _marked(block)
            case Fold(label, blocks):
                inside = "\n".join(self.draw(inner) for inner in blocks)
                return f'<details><summary>{isolated(label)}</summary><div class="inside">{inside}</div></details>'

    def _bars(self, block: Bars) -> str:
        legend = "".join(
            f'<i class="{kind}"></i>{isolated(name)}'
            for kind, name in zip(("value", "rest"), block.names, strict=True)
            if name
        )
        return _figure_of(block.title, legend, bars_svg(block, f"b{next(self._pictures)}"))

    def _plot(self, block: Plot) -> str:
        names = list(block.curves) if len(block.curves) > 1 else []  # one curve is what the title says
        legend = "".join(f'<i class="k{place % 4}"></i>{isolated(name)}' for place, name in enumerate(names))
        return _figure_of(block.title, legend, plot_svg(block, f"b{next(self._pictures)}"))


def _figure_of(title: str, legend: str, picture: str) -> str:
    legend = f'<span class="legend">{legend}</span>' if legend else ""
    caption = f"<figcaption>{isolated(title)}{legend}</figcaption>" if title or legend else ""
    return f'<figure>{caption}<div class="scroll">{picture}</div></figure>'


def _figure(label: str, value: object, note: str) -> str:
    noted = f'<dd class="note">{isolated(note)}</dd>' if note else ""
    return f"<div><dt>{isolated(label)}</dt><dd>{isolated(number(value))}</dd>{noted}</div>"


def _quote(block: Quote) -> str:
    title = isolated(block.title)
    # Only the web's own schemes: a `javascript:` link would run when it is clicked on.
    if block.link.lower().startswith(("https://", "http://")):
        title = f'<a href="{escaped(block.link)}" rel="noreferrer noopener">{title or escaped(block.link)}</a>'
    caption = f"<figcaption>{title}</figcaption>" if title else ""
    return f'<figure class="quote">{caption}<blockquote dir="auto">{_body(block)}</blockquote></figure>'


def _body(block: Quote) -> str:
    done, parts = 0, []
    for start, end in block.marked:
        parts.append(f"{escaped(block.body[done:start])}<mark>{escaped(block.body[start:end])}</mark>")
        done = end
    return "".join(parts) + escaped(block.body[done:])


def _table(block: Table) -> str:
    def cell(tag: str, column: int, value: object, scope: str = "") -> str:
        align = ' class="num"' if column in block.numeric else ""
        return f"<{tag}{scope}{align}>{isolated(number(value))}</{tag}>"

    head = "".join(cell("th", n, name, ' scope="col"') for n, name in enumerate(block.columns))
    head = f"<thead><tr>{head}</tr></thead>" if any(block.columns) else ""
    rows = "".join(
        "<tr>"
        + "".join(
            cell("th", 0, value, ' scope="row"') if n == 0 and 0 not in block.numeric else cell("td", n, value)
            for n, value in enumerate(row)
        )
        + "</tr>"
        for row in block.rows
    )
    caption = f"<caption>{isolated(block.title)}</caption>" if block.title else ""
    return f'<div class="scroll table"><table>{caption}{head}<tbody>{rows}</tbody></table></div>'


def _tree(block: Tree) -> str:
    children = f"<ul>{''.join(map(_tree, block.children))}</ul>" if block.children else ""
    return f'<li><span class="{block.style}">{isolated(block.label)}</span>{children}</li>'


def _diff(block: Diff) -> str:
    lines = "".join(
        # The mark is outside the text's own direction: it stays at the left of an Arabic line too.
        f'<span class="{_DIFF_CLASSES.get(line.mark, "same")}"><b>{line.mark}</b><bdi>'
        + "".join(_piece(line.mark, piece, changed) for piece, changed in line.pieces)
        + "</bdi></span>"
        for line in diff_lines(block.before, block.after)
    )
    caption = f"<figcaption>{isolated(block.title)}</figcaption>" if block.title else ""
    inside = lines or '<span class="between">nothing changed</span>'
    return f'<figure class="diff">{caption}<pre class="diff">{inside}</pre></figure>'


def _marked(block: Marked) -> str:
    pieces = "".join(f"<{_INK_TAGS[ink]}>{escaped(text)}</{_INK_TAGS[ink]}>" for text, ink in block.pieces)
    caption = f"<figcaption>{isolated(block.title)}</figcaption>" if block.title else ""
    return f'<figure class="marked">{caption}<pre class="marked" dir="auto">{pieces}</pre></figure>'


def _piece(mark: str, piece: str, changed: bool) -> str:
    tag = _DIFF_TAGS.get(mark)
    return f"<{tag}>{escaped(visible(piece))}</{tag}>" if changed and tag else escaped(piece)
