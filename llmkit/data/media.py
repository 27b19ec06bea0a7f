"""Which media type a file name announces, and which media types are source code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

CODE_SUFFIXES: Mapping[str, str] = {
    ".asm": "text/x-asm",
    ".bash": "text/x-sh",
    ".c": "text/x-c",
    ".cc": "text/x-c++",
    ".cfg": "text/x-ini",
    ".clj": "text/x-clojure",
    ".cmake": "text/x-cmake",
    ".conf": "text/x-ini",
    ".cpp": "text/x-c++",
    ".cs": "text/x-csharp",
    ".css": "text/x-css",
    ".cu": "text/x-cuda",
    ".cxx": "text/x-c++",
    ".dart": "text/x-dart",
    ".erl": "text/x-erlang",
    ".ex": "text/x-elixir",
    ".exs": "text/x-elixir",
    ".f90": "text/x-fortran",
    ".fs": "text/x-fsharp",
    ".go": "text/x-go",
    ".gradle": "text/x-groovy",
    ".groovy": "text/x-groovy",
    ".h": "text/x-c",
    ".hpp": "text/x-c++",
    ".hs": "text/x-haskell",
    ".ini": "text/x-ini",
    ".java": "text/x-java",
    ".jl": "text/x-julia",
    ".js": "text/x-javascript",
    ".jsx": "text/x-javascript",
    ".kt": "text/x-kotlin",
    ".lisp": "text/x-lisp",
    ".lua": "text/x-lua",
    ".m": "text/x-objective-c",
    ".ml": "text/x-ocaml",
    ".nix": "text/x-nix",
    ".php": "text/x-php",
    ".pl": "text/x-perl",
    ".pm": "text/x-perl",
    ".proto": "text/x-protobuf",
    ".ps1": "text/x-powershell",
    ".py": "text/x-python",
    ".pyi": "text/x-python",
    ".pyw": "text/x-python",
    ".pyx": "text/x-cython",
    ".r": "text/x-r",
    ".rb": "text/x-ruby",
    ".rs": "text/x-rust",
    ".scala": "text/x-scala",
    ".scss": "text/x-scss",
    ".sh": "text/x-sh",
    ".sql": "text/x-sql",
    ".svelte": "text/x-svelte",
    ".swift": "text/x-swift",
    ".tcl": "text/x-tcl",
    ".tf": "text/x-terraform",
    ".toml": "text/x-toml",
    ".ts": "text/x-typescript",
    ".tsx": "text/x-typescript",
    ".vb": "text/x-vb",
    ".vim": "text/x-vim",
    ".vue": "text/x-vue",
    ".xml": "text/x-xml",
    ".yaml": "text/x-yaml",
    ".yml": "text/x-yaml",
    ".zig": "text/x-zig",
    ".zsh": "text/x-sh",
}
"""Languages whose layout carries meaning: their lines and indentation are never touched."""

PROSE_SUFFIXES: Mapping[str, str] = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".mdx": "text/markdown",
    ".rst": "text/x-rst",
    ".adoc": "text/asciidoc",
    ".org": "text/org",
    ".tex": "text/x-tex",
    ".log": "text/plain",
    ".text": "text/plain",
    ".txt": "text/plain",
}

_CODE_NAMES: Mapping[str, str] = {
    "cmakelists.txt": "text/x-cmake",
    "dockerfile": "text/x-dockerfile",
    "makefile": "text/x-makefile",
    "gnumakefile": "text/x-makefile",
}
_CODE_MEDIA = frozenset({*CODE_SUFFIXES.values(), *_CODE_NAMES.values(), "application/json"})

PYTHON = "text/x-python"


def media_of_name(path: PurePath) -> str | None:
    """The media type a file's name announces for plain, marked-up or source text; None where it announces none."""
    suffix = path.suffix.lower()
    return _CODE_NAMES.get(path.name.lower()) or CODE_SUFFIXES.get(suffix) or PROSE_SUFFIXES.get(suffix)


def is_code(media: str) -> bool:
    return media in _CODE_MEDIA
