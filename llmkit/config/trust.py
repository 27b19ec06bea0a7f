"""Which endpoints a recipe may name: those of this machine, and those the user allowed in a file of their own."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

from llmkit.config.document import load_yaml
from llmkit.errors import ConfigError

PREFIX = "openai:"


def leaves_this_machine(value: object) -> bool:
    """Whether `value` is an endpoint or a server on another machine that the user has not allowed.

    Raises:
        ConfigError: the user's own file is not of the form `allow_endpoints: [URL, ...]`.
    """
    if not isinstance(value, str) or not value.startswith((PREFIX, "http://", "https://")):
        return False
    url = value.removeprefix(PREFIX).partition("#")[0].rstrip("/")
    return not _is_loopback(urlsplit(url).hostname or "") and url not in _allowed()


def user_file() -> Path:
    """The user's own configuration, outside every repository."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "llmkit" / "config.yaml"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _allowed() -> set[str]:
    path = user_file()
    if not path.is_file():
        return set()
    file = load_yaml(path)
    top = file.mapping("the user's configuration")
    unknown = [str(key) for key in top if key != "allow_endpoints"]
    urls = top.get("allow_endpoints") or []
    if unknown or not isinstance(urls, list):
        raise ConfigError(
            f"no such key: {', '.join(unknown)}" if unknown else "allow_endpoints must be a list of URLs",
            where=file.where((unknown[0],) if unknown else ("allow_endpoints",)),
            mend="the file has one key: `allow_endpoints: [https://host/v1]`",
        )
    return {str(url).rstrip("/") for url in urls}
