"""Links to a line of a file, as the terminal at hand opens them.

OSC 8 links have no agreed way to name a line. kitty takes the line as the fragment of a file's URI, editors' own
terminals take their editor's scheme; others would not find a file with a fragment, and get the file alone. (The forms
are those of ripgrep's `--hyperlink-format` for the same programs.)
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_EDITORS = {"vscode": "vscode", "cursor": "cursor", "vscodium": "vscodium"}


def line_link(link: str, line: int, environ: Mapping[str, str]) -> str:
    """A link to `line` (0: none) of the file behind a `file:` URI; any other link stays as it is."""
    parts = urlsplit(link)
    if not line or parts.scheme != "file":
        return link
    if environ.get("KITTY_WINDOW_ID") or environ.get("TERM") == "xterm-kitty":
        return f"{link}#{line}"
    if environ.get("TERM_PROGRAM") == "vscode":
        # Its descendants name themselves by the path of their own helper.
        helper = environ.get("VSCODE_GIT_ASKPASS_NODE", "").lower()
        scheme = next((scheme for name, scheme in _EDITORS.items() if name in helper), "vscode")
        return f"{scheme}://file{parts.path}:{line}"
    return link
