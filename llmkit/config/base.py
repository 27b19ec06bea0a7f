"""An option is defined once: as a field of a frozen model, from which the flag, the recipe key, the environment
variable, the documentation and the recorded lineage all follow.

    class TrainingConfig(Config):
        steps: int = option(300, "Optimizer steps to train for.", ge=1)

A field whose type is another `Config` is a section: its leaves have dotted paths (`lora.rank`), and the flag is the
last component of the path (`--rank`), unique within a command.
"""

from __future__ import annotations

import keyword
import shlex
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


class Config(BaseModel):
    """Base of every option group: immutable, and an unknown key is an error."""

    # Validators are built at first use: `--help` needs none, and building them costs it a third of its time.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, populate_by_name=True)

    panel: ClassVar[str | None] = None
    """Heading under which help lists the options that this class declares."""


@dataclass(frozen=True)
class Traits:
    """What an option is besides its type and default.

    Attributes:
        argument: its metavar, where the option is a positional argument and not a flag.
        keyed: whether the result depends on it. Names and how often to look are not part of what was made.
        command_line_only: for which values (a predicate) only the command line is believed; a cloned repository must
            not be able to lower safety by its recipe or project file.
        short: a one-letter flag.
        commas: whether one value given on the command line may be several, with commas between them.
    """

    argument: str | None = None
    keyed: bool = True
    command_line_only: Callable[[Any], bool] | None = None
    short: str | None = None
    commas: bool = False


def option(
    default: Any,
    help: str,  # noqa: A002  # the word the field uses for it
    *,
    argument: str | None = None,
    keyed: bool = True,
    command_line_only: Callable[[Any], bool] | None = None,
    short: str | None = None,
    commas: bool = False,
    **constraints: Any,
) -> Any:
    """Field of a `Config` with its help text, `Traits`, and pydantic constraints (`ge`, `le`, `min_length`, ...)."""
    schema = _or_written_out if commas else None
    field = cast(FieldInfo, Field(default, description=help, json_schema_extra=schema, **constraints))
    field.metadata.append(Traits(argument, keyed, command_line_only, short, commas))
    return field


def _or_written_out(schema: dict[str, Any]) -> None:
    """In recipes, what commas separate may be a list, one value, or a text with commas."""
    several = {key: schema.pop(key) for key in ("type", "items", "minItems") if key in schema}
    schema["anyOf"] = [several, several["items"], {"type": "string"}]


@dataclass(frozen=True)
class Leaf:
    """One option, flattened out of its sections."""

    path: tuple[str, ...]
    field: FieldInfo
    traits: Traits
    panel: str | None = None
    """Heading under which help lists it: its section's name, or that of the group that declares it."""

    @property
    def key(self) -> str:
        """The dotted path, as in `--set` and in recipes."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        return "--" + self.path[-1].replace("_", "-")

    @property
    def parameter(self) -> str:
        """The last component as a Python name: unique within a command."""
        return _attribute(self.path[-1])

    @property
    def help(self) -> str:
        return self.field.description or ""

    @property
    def default(self) -> Any:
        return None if self.field.default is PydanticUndefined else self.field.default

    @property
    def required(self) -> bool:
        return self.field.is_required()

    @property
    def type(self) -> Any:
        """The annotation without `None`."""
        return _without_none(self.field.annotation)

    @property
    def many(self) -> bool:
        """Whether the option takes several values."""
        return get_origin(self.type) is tuple

    @property
    def item_type(self) -> Any:
        """Type of one value: the element's for an option that takes several."""
        return get_args(self.type)[0] if self.many else self.type

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.item_type) if get_origin(self.item_type) is Literal else ()

    def value(self, config: Config) -> Any:
        """What `config` holds for this option."""
        value: Any = config
        for name in self.path:
            value = getattr(value, _attribute(name))
        return value

    def variable(self, command: str) -> str:
        """Its environment variable: `LLMKIT_` + command + last component, as in `LLMKIT_PRETRAIN_STEPS`."""
        return f"LLMKIT_{command}_{self.path[-1]}".replace("-", "_").upper()


@cache
def leaves(config: type[Config]) -> tuple[Leaf, ...]:
    """All options of a config in declaration order.

    Raises:
        TypeError: two sections end in the same name, so that the flag would be ambiguous (a mistake of ours).
    """
    found = tuple(_walk(config, ()))
    names = [leaf.parameter for leaf in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TypeError(f"{config.__name__}: flags are not unique: {', '.join(sorted(twice))}")
    return found


def fields_by_name(config: type[Config]) -> dict[str, FieldInfo]:
    """The fields of a config under the names that users give them."""
    return {field.alias or name: field for name, field in config.model_fields.items()}


def recorded(config: Config) -> dict[str, Any]:
    """All values under the names that users give them, JSON-ready."""
    return config.model_dump(mode="json", by_alias=True)


def identity(config: Config) -> dict[str, Any]:
    """The part of a config that decides what is made, JSON-ready: two equal identities make the same thing."""
    values = recorded(config)
    for leaf in leaves(type(config)):
        if not leaf.traits.keyed:
            section = values
            for name in leaf.path[:-1]:
                section = section[name]
            del section[leaf.path[-1]]
    return values


def changed(config: Config) -> dict[str, Any]:
    """The options that decide what is made and are not at their defaults, by dotted key; arguments left out."""
    found: dict[str, Any] = {}
    for leaf in leaves(type(config)):
        value = leaf.value(config)
        if leaf.traits.keyed and not leaf.traits.argument and value != leaf.default:
            found[leaf.key] = list(value) if isinstance(value, tuple) else value
    return found


def command_line(command: str, config: Config) -> str:
    """The command with its arguments and the options that decide what is made, as a shell takes it."""
    words = ["llmkit", command]
    for leaf in leaves(type(config)):
        value = leaf.value(config)
        if leaf.traits.argument:
            words += map(str, value if leaf.many else [value])
        elif not leaf.traits.keyed or value == leaf.default:
            continue
        elif isinstance(value, bool):
            words.append(leaf.flag if value else f"--no-{leaf.flag[2:]}")
        else:
            words += [word for item in (value if leaf.many else [value]) for word in (leaf.flag, str(item))]
    return shlex.join(words)


def _walk(config: type[Config], prefix: tuple[str, ...]) -> Iterator[Leaf]:
    for name, owner in _in_reading_order(config).items():
        field = config.model_fields[name]
        path = (*prefix, field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from _walk(field.annotation, path)
        else:
            traits = next((m for m in field.metadata if isinstance(m, Traits)), Traits())
            panel = prefix[0].replace("_", " ").capitalize() if prefix else owner.__dict__.get("panel")
            yield Leaf(path, field, traits, panel)


def _in_reading_order(config: type[Config]) -> dict[str, type[Config]]:
    """Field names, a command's own before those it shares, each with the class that declared it first.

    A class that only changes a shared option's default leaves it in its group.
    """
    owners = [owner for owner in config.__mro__ if issubclass(owner, Config)]
    declared = {name: owner for owner in owners for name in owner.__annotations__ if name in config.model_fields}
    return dict(sorted(declared.items(), key=lambda item: owners.index(item[1])))


def _attribute(name: str) -> str:
    """The Python name of an option: `for` is a keyword, so its field is `for_`, with the alias `for`."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [a for a in get_args(annotation) if a is not type(None)]
        return kept[0] if len(kept) == 1 else Union[tuple(kept)]  # noqa: UP007  # built from a list
    return annotation
