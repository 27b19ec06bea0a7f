"""What an artifact was made with: the state of the git working tree and the versions of the packages that matter."""

from __future__ import annotations

import platform
from pathlib import Path

from llmkit.registry.artifact import GitState

PACKAGES = (
    "llmkit",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "sentence-transformers",
    "chromadb",
)
"""Distributions whose version can change a result."""

_GIT_SECONDS = 10


def git_state(folder: Path) -> GitState | None:
    """Revision and dirtiness of the working tree around `folder`; None without git or outside a repository."""
    import os
    import subprocess

    # One process answers both. fsmonitor would start a program that the repository names; the lock is for `git commit`.
    command = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(  # noqa: S603 # a fixed command
            command,
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.splitlines()
    revision = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
    return GitState(
        revision=None if revision == "(initial)" else revision,
        dirty=any(not line.startswith("#") for line in lines),
    )


def package_versions() -> dict[str, str]:
    """Versions of Python and of those PACKAGES that are installed; none of them is imported."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
