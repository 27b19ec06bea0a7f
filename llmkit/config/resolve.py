"""Which value an option has, and who said so: flag > `--set` > environment > recipe > project file > default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import ValidationError

from llmkit.config.base import Config, Leaf, fields_by_name, leaves
from llmkit.config.document import Path_, Yaml, load_yaml
from llmkit.config.problems import Problem, raise_problems, translate, unknown
from llmkit.errors import ConfigError, closest

PROJECT_FILE = "llmkit.yaml"

Source = Literal["flag", "set", "environment", "recipe", "project", "default"]
C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Origin:
    """Who gave a value: the kind of source, and the exact place (flag, variable, or file and line)."""

    source: Source
    where: str

    @property
    def trusted(self) -> bool:
        """Whether whoever started the command typed it."""
        return self.source in ("flag", "set")


@dataclass(frozen=True)
class Layer:
    """What one source says: dotted key -> (value, origin), and what of it cannot be."""

    values: Mapping[str, tuple[Any, Origin]]
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Resolved(Generic[C]):
    """A config with the origin of each of its values."""

    config: C
    origins: Mapping[str, Origin]

    @property
    def given(self) -> tuple[str, ...]:
        """Keys that somebody set, sorted."""
        return tuple(sorted(key for key, origin in self.origins.items() if origin.source != "default"))


def resolve(config: type[C], layers: Iterable[Layer]) -> Resolved[C]:
    """Merge layers, the later over the earlier, into a checked config.

    Raises:
        ConfigError: with every unknown key and every wrong value of all layers in one message.
    """
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    problems: list[Problem] = []
    known = {leaf.key: leaf for leaf in leaves(config)}
    for layer in layers:
        problems += layer.problems
        for key, (value, origin) in layer.values.items():
            separate = key in known and known[key].traits.commas
            values[key], origins[key] = _separated(value) if separate else value, origin
    try:
        made = config.model_validate(_nest(values))
        problems += _untrusted(known, made, origins)
    except ValidationError as error:
        problems += translate(error, lambda path: _origin_of(path, origins, known))
        made = None
    if problems or made is None:
        raise_problems(problems)
        raise AssertionError("a refused config has problems")
    default = Origin("default", "default")
    return Resolved(made, {key: origins.get(key, default) for key in known})


def flag_layer(config: type[Config], given: Mapping[str, Any]) -> Layer:
    """Values from the command line, by parameter name; None means not given."""
    values = {}
    for leaf in leaves(config):
        value = given.get(leaf.parameter)
        if value is not None and not (leaf.many and len(value) == 0):
            name = leaf.traits.argument or leaf.flag
            values[leaf.key] = (value, Origin("flag", name))
    return Layer(values)


def set_layer(config: type[Config], assignments: Iterable[str]) -> Layer:
    """Values from `--set a.b=value`; values are read as YAML."""
    import yaml

    values: dict[str, tuple[Any, Origin]] = {}
    problems: list[Problem] = []
    known = {leaf.key: leaf for leaf in leaves(config)}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        where = f"--set {assignment}"
        if not equals:
            problems.append(Problem(key, "needs the form key=value", where))
        elif key not in known:
            problems.append(unknown(key, known, where))
        else:
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError:
                value = text
            values[key] = (_as_typed(known[key], value, text), Origin("set", where))
    return Layer(values, problems)


def environment_layer(config: type[Config], command: str, environment: Mapping[str, str]) -> Layer:
    """Values from `LLMKIT_<COMMAND>_<OPTION>`; a variable of this command that names no option is a problem."""
    variables = {leaf.variable(command): leaf for leaf in leaves(config)}
    prefix = f"LLMKIT_{command}_".replace("-", "_").upper()
    values, problems = {}, []
    for name in sorted(environment):
        if not name.startswith(prefix):
            continue
        if name not in variables:
            problems.append(Problem(name, f"no such variable{closest(name, variables)}", "environment"))
            continue
        leaf, text = variables[name], environment[name]
        value: Any = [part.strip() for part in text.split(",") if part.strip()] if leaf.many else text
        values[leaf.key] = (value, Origin("environment", f"${name}"))
    return Layer(values, problems)


def mapping_layer(config: type[Config], yaml: Yaml, at: Path_, source: Source) -> Layer:
    """Values from the mapping that stands at `at` in a YAML file."""
    node: Any = yaml.values
    for part in at:
        node = node[part]
    values: dict[str, tuple[Any, Origin]] = {}
    problems: list[Problem] = []
    _flatten(config, node, yaml, at, (), source, values, problems)
    return Layer(values, problems)


def project_file(start: Path) -> Path | None:
    """The nearest `llmkit.yaml` from `start` upwards."""
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder / PROJECT_FILE
    return None


def project_layer(config: type[Config], command: str, commands: Iterable[str], start: Path) -> Layer:
    """This command's part of the nearest project file; empty where there is none."""
    path = project_file(start)
    if path is None:
        return Layer({})
    yaml = load_yaml(path)
    top = yaml.mapping("a project file")
    known = list(commands)
    problems = [
        Problem(str(key), f"no such command{closest(str(key), known)}", yaml.where((key,)))
        for key in top
        if key not in known
    ]
    if command not in top or top[command] is None:
        return Layer({}, problems)
    layer = mapping_layer(config, yaml, (command,), "project")
    return Layer(layer.values, [*problems, *layer.problems])


def _flatten(  # noqa: PLR0913  # one recursive walk that fills two collections
    config: type[Config],
    node: Any,
    yaml: Yaml,
    at: Path_,
    path: tuple[str, ...],
    source: Source,
    values: dict[str, tuple[Any, Origin]],
    problems: list[Problem],
) -> None:
    if node is None:
        return
    if not isinstance(node, dict):
        key = ".".join(path) or str(at[-1] if at else "options")
        problems.append(Problem(key, "must be a section of keys", yaml.where((*at, *path))))
        return
    for name, value in node.items():
        here = (*path, str(name))
        where = yaml.where((*at, *here))
        fields = fields_by_name(config)
        field = fields.get(str(name))
        if field is None:
            siblings = [".".join((*path, known)) for known in fields]
            elsewhere = [leaf.key for leaf in leaves(config)] if not path else []
            problems.append(unknown(".".join(here), [*siblings, *elsewhere], where))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            _flatten(field.annotation, value, yaml, at, here, source, values, problems)
        else:
            values[".".join(here)] = (value, Origin(source, where))


def _as_typed(leaf: Leaf, value: Any, text: str) -> Any:
    """YAML reads `1` where text is meant and a word where a list is meant; follow the option's type."""
    if leaf.many and not isinstance(value, list):
        return [text]
    return text if leaf.item_type is str and not leaf.many and value is not None else value


def _separated(value: Any) -> Any:
    """Several values of one text, or of each of several: `a,b` is a and b wherever it is written; one stands alone."""
    given = value if isinstance(value, list | tuple) else [value]
    return [
        part
        for each in given
        for part in (map(str.strip, each.split(",")) if isinstance(each, str) else [each])
        if part != ""
    ]


def _untrusted(known: Mapping[str, Leaf], made: Config, origins: Mapping[str, Origin]) -> list[Problem]:
    found = []
    for key, leaf in known.items():
        only = leaf.traits.command_line_only
        if only and key in origins and not origins[key].trusted and only(leaf.value(made)):
            message = f"{leaf.value(made)!r} is accepted only on the command line; give {leaf.flag} there"
            found.append(Problem(key, message, origins[key].where))
    return found


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        target = nested
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = value
    return nested


def _origin_of(path: tuple[str | int, ...], origins: Mapping[str, Origin], known: Mapping[str, Leaf]) -> str:
    for length in range(len(path), 0, -1):
        key = ".".join(str(p) for p in path[:length])
        if key in origins:
            return origins[key].where
        if key in known:
            return known[key].traits.argument or known[key].flag
    return ""


def require_section(value: object, where: str) -> None:
    """Raise ConfigError unless `value` is a mapping (or nothing)."""
    if value is not None and not isinstance(value, dict):
        raise ConfigError("must be a section of keys", where=where)
