"""References: the one grammar in which a user names an artifact, a file, something on the Hub, or an endpoint.

    corpus  corpus@3  corpus@prod         an artifact of the registry: its latest version, a version, a tag
    ./x  ../x  /x  ~/x                    a path
    org/name  hf:name  hf:org/name        the Hub, optionally @revision and, for data, #split
    openai:http://host:port/v1#model      a model behind an OpenAI-compatible endpoint

Parsing never touches the disk, except in `parse_input`, for arguments where an existing path comes first.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from llmkit.errors import ConfigError, UsageError

MAX_NAME = 128
"""Characters of a name or tag: file systems stop at 255 bytes, and locks and drafts add to it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_HUB_REPO = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_VISIBLE = re.compile(r"\S+")
_FORMS = (
    "write `name`, `name@3` or `name@tag` for the registry, `./file` for a path, `org/name` or `hf:name` for the Hub, "
    "or `openai:http://host:port/v1#model`"
)


@dataclass(frozen=True)
class RegistryRef:
    """An artifact by name; the latest version unless a version or a tag is given, never both."""

    name: str
    version: int | None = None
    tag: str | None = None

    def __str__(self) -> str:
        selector = self.tag if self.version is None else self.version
        return self.name if selector is None else f"{self.name}@{selector}"


@dataclass(frozen=True)
class PathRef:
    """A file or folder, as the user wrote it."""

    text: str

    @property
    def path(self) -> Path:
        return Path(self.text).expanduser()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class HubRef:
    """A repository on the Hub: `org/name`, or a bare name after `hf:`."""

    repo: str
    revision: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        split = f"#{self.split}" if self.split else ""
        return f"hf:{self.repo}{revision}{split}"


@dataclass(frozen=True)
class EndpointRef:
    """A model served by an OpenAI-compatible API. `base_url` has no trailing slash."""

    base_url: str
    model: str

    def __str__(self) -> str:
        return f"openai:{self.base_url}#{self.model}"


Ref = RegistryRef | PathRef | HubRef | EndpointRef


def parse(text: str) -> Ref:
    """The reference `text` spells. `parse(str(ref)) == ref` for every ref that parsing gives.

    Raises:
        UsageError: no form of the grammar fits.
        ConfigError: an endpoint with a password in its URL.
    """
    if text.startswith("openai:"):
        return _endpoint(text)
    if text in {".", ".."} or text.startswith(("./", "../", "/", "~")):
        if "\0" in text:
            raise UsageError(f"{text!r} is not a path: it holds a zero byte")
        return PathRef(text)
    if text.startswith("hf:"):
        return _hub(text, text.removeprefix("hf:"))
    # A registry tag has no slash, so `name@a/b` is no reference at all, and `org/name@a/b` is the Hub's.
    if "/" in re.split("[@#]", text, maxsplit=1)[0]:
        return _hub(text, text)
    return _registry(text)


def parse_input(text: str) -> Ref:
    """As `parse`, for arguments that are files or folders: what exists at that path comes first.

    Raises:
        UsageError, ConfigError: as `parse`.
    """
    try:
        if Path(text).exists():
            return PathRef(text if isinstance(_try(text), PathRef) else f"./{text}")
    except (OSError, ValueError):  # longer than a path may be, or with a zero byte: no path
        pass
    return parse(text)


def check_name(name: str) -> str:
    """`name`, if it is a legal artifact name.

    Raises:
        UsageError: it is not; the mend offers one that is.
    """
    if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
        return name
    raise UsageError(
        f"{name!r} cannot be a name: use lower-case letters, digits, `.`, `_` and `-`, starting with a letter or digit",
        mend=f"call it `{slug(name)}`",
    )


def check_tag(tag: str) -> str:
    """`tag`, if it is a legal tag.

    Raises:
        UsageError: it is a number (those are versions), or not spelled like a name.
    """
    if tag.isdigit():
        raise UsageError(f"the tag {tag!r} is a number; numbers are versions", mend=f"call it `v{tag}`")
    if _NAME.fullmatch(tag) and len(tag) <= MAX_NAME:
        return tag
    raise UsageError(f"{tag!r} cannot be a tag", mend=f"call it `{slug(tag)}`")


def slug(text: str) -> str:
    """A legal name near `text` (say, a folder's); text with no usable letter gives a name made from its digest."""
    if _NAME.fullmatch(text) and len(text) <= MAX_NAME:
        return text
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", ascii_text).lstrip("._-")[:MAX_NAME].rstrip("-")
    return name or "n" + hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def _try(text: str) -> Ref | None:
    try:
        return parse(text)
    except (UsageError, ConfigError):
        return None


def _registry(text: str) -> RegistryRef:
    name, at, selector = text.partition("@")
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise UsageError(f"{text!r} is not a reference", mend=_FORMS)
    if not at:
        return RegistryRef(name)
    if selector.isdigit():
        if not selector.isascii() or selector.startswith("0"):
            raise UsageError(f"{text!r}: versions count from 1", mend=f"write `{name}@1`")
        return RegistryRef(name, version=int(selector))
    if not _NAME.fullmatch(selector) or len(selector) > MAX_NAME:
        raise UsageError(f"{text!r}: what follows @ is neither a version nor a tag", mend=_FORMS)
    return RegistryRef(name, tag=selector)


def _hub(text: str, body: str) -> HubRef:
    body, hash_, split = body.partition("#")
    repo, at, revision = body.partition("@")
    if not _HUB_REPO.fullmatch(repo):
        raise UsageError(f"{text!r} is not a reference", mend=f"a path starts with `./`; {_FORMS}")
    if at and not _HUB_REVISION.fullmatch(revision):
        raise UsageError(f"{text!r}: {revision!r} is not a revision", mend=f"write `{repo}@main`, or leave the @ out")
    if hash_ and not _VISIBLE.fullmatch(split):
        raise UsageError(f"{text!r}: {split!r} is not a split", mend=f"write `{repo}#train`, or leave the # out")
    return HubRef(repo, revision or None, split or None)


def _endpoint(text: str) -> EndpointRef:
    url, _, model = text.removeprefix("openai:").partition("#")
    mend = "write `openai:http://host:port/v1#model`"
    try:
        parts = urlsplit(url)
        legal = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query
        _ = parts.port  # reading it is what checks it
    except ValueError:
        legal = False
    if not legal or not _VISIBLE.fullmatch(url):
        raise UsageError(f"{text!r}: not the address of an endpoint", mend=mend)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "the endpoint's URL has a user or password in it, which would be recorded",
            where=f"openai:{parts.scheme}://…@{parts.hostname}",
            mend="take it out of the URL and give the key through an environment variable",
        )
    if not _VISIBLE.fullmatch(model):
        raise UsageError(f"{text!r}: the model's name is missing", mend=mend)
    return EndpointRef(url.rstrip("/"), model)
