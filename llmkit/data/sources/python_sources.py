"""`python:stdlib` and `python:PACKAGE`: where installed Python modules have their sources, found without an import."""

from __future__ import annotations

import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

from llmkit.errors import NotFoundError, closest

PREFIX = "python:"

STDLIB_EXCLUDED = ("test", "tests", "idle_test", "lib2to3", "config-*", "ensurepip/_bundled")
"""Folders of the standard library that hold tests, test data, or builds: not the text of the library itself."""


def is_stdlib(name: str) -> bool:
    return name == "stdlib"


def find_python_source(name: str) -> Path:
    """The folder of the standard library (`stdlib`) or of a package, or the file of a single module.

    Raises:
        NotFoundError: if no such module is installed, or it has no Python source.
    """
    if is_stdlib(name):
        return Path(sysconfig.get_path("stdlib")).resolve()
    if name in sys.builtin_module_names:
        raise _no_source(name)
    search: list[str] | None = None
    spec: ModuleSpec | None = None
    # One part after the other: find_spec of a dotted name would import the packages before the last dot.
    for depth in range(1, name.count(".") + 2):
        spec = PathFinder.find_spec(".".join(name.split(".")[:depth]), search)
        if spec is None:
            break
        search = list(spec.submodule_search_locations or [])
    if spec is None:
        known = {*sys.stdlib_module_names, *packages_distributions()}
        raise NotFoundError(
            f"no Python module '{name}' is installed{closest(name, known)}",
            where=PREFIX + name,
            mend=f"use {PREFIX}stdlib, or the import name of an installed package",
        )
    if search:
        return Path(search[0]).resolve()
    if not spec.origin or not spec.origin.endswith(".py"):
        raise _no_source(name)
    return Path(spec.origin).resolve()


def _no_source(name: str) -> NotFoundError:
    return NotFoundError(f"module '{name}' has no Python source", where=PREFIX + name, mend="name another module")
