"""YAML that remembers on which line each value stands, so that every complaint can name it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import ConfigError, NotFoundError

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Yaml:
    """A parsed file. `values` is plain data; `lines` maps the path of every key and item to its 1-based line."""

    path: Path
    values: Any
    lines: Mapping[Path_, int] = field(default_factory=dict)

    def where(self, path: Path_ = ()) -> str:
        """`file:line` of the nearest known ancestor of `path`."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return f"{self.path}:{self.lines[path[:length]]}"
        return str(self.path)

    def mapping(self, what: str) -> dict[str, Any]:
        """The top level, which must be a mapping with text keys.

        Raises:
            ConfigError: it is something else.
        """
        if self.values is None:
            return {}
        if not isinstance(self.values, dict):
            raise ConfigError(f"{what} must be a mapping of keys to values", where=self.where())
        return self.values


def load_yaml(path: Path) -> Yaml:
    """Read one YAML document with safe types only; a key that stands twice is an error.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: it cannot be read or is not YAML; the line is named.
    """
    import yaml  # 10 ms that commands without a recipe do not pay

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}", mend="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path), mend="save it as UTF-8 text") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_lines(node, (), path)) if node is not None else {}
        return Yaml(path, yaml.load(text, Loader=yaml.SafeLoader), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(
            f"not valid YAML: {problem}", where=where, mend="check indentation, colons and quotes"
        ) from None


def _lines(node: Any, at: Path_, file: Path) -> Iterator[tuple[Path_, int]]:
    yield at, node.start_mark.line + 1
    if node.id == "mapping":
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value
            where = f"{file}:{key.start_mark.line + 1}"
            if key.id != "scalar":
                raise ConfigError("a key must be a word", where=where)
            if name in seen:
                raise ConfigError(f"'{name}' stands here twice", where=where, mend="keep one of the two")
            seen.add(name)
            yield from _lines(value, (*at, name), file)
            yield (*at, name), key.start_mark.line + 1
    elif node.id == "sequence":
        for index, item in enumerate(node.value):
            yield from _lines(item, (*at, index), file)
