"""The packages of the `export` extra, which the rest of llmkit does without."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from llmkit.errors import UnavailableError

INSTALL = "pip install 'llmkit[export]'"


def require(names: Sequence[str], purpose: str) -> None:
    """Raise UnavailableError, with what to install, where one of the packages is not there."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UnavailableError(f"{purpose} needs the package {' and '.join(missing)}", mend=INSTALL)


def package(name: str, purpose: str) -> Any:
    """A package of the extra, imported. Raises UnavailableError as `require`."""
    require([name.split(".")[0]], purpose)
    return import_module(name)
