"""Which files of a folder are left alone: hidden ones, those git ignores, secrets, and what is plainly not text."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePath
from typing import Literal

from llmkit.data.sources.globs import matcher

Skip = Literal[
    "hidden",
    "git_ignored",
    "secret",
    "binary",
    "outside_link",
    "repeated",
    "not_a_file",
    "unreadable",
    "excluded",
    "generated",
    "home",
    "bad_name",
]

_PRIVATE_NAMES = """
    .env .env.* *.env *.pem *.key *.p12 *.pfx *.jks *.keystore *.kdbx *.ppk *.gpg *.asc .netrc _netrc .pgpass .npmrc
    .pypirc .htpasswd .git-credentials id_rsa* id_dsa* id_ecdsa* id_ed25519* credentials credentials.json
    credentials.csv client_secret*.json service-account*.json secrets.json secrets.toml secrets.y*ml
"""
_PRIVATE = matcher(_PRIVATE_NAMES.split())

_BINARY_NAMES = """
    .png .jpg .jpeg .gif .bmp .tif .tiff .webp .ico .icns .heic .psd .ai .svgz
    .mp3 .wav .flac .ogg .m4a .mp4 .mkv .mov .avi .webm
    .7z .rar .whl .jar .war .deb .rpm .iso .dmg
    .pyc .pyo .pyd .so .dylib .dll .a .o .obj .lib .exe .class .wasm .bin .dat
    .ttf .otf .woff .woff2 .eot .db .sqlite .sqlite3 .mo .pickle .pkl .npy .npz .h5 .hdf5 .arrow .feather
    .pt .pth .ckpt .safetensors .gguf .onnx .doc .xls .ppt .odt .ods .odp .mobi
"""
_BINARY_SUFFIXES = frozenset(_BINARY_NAMES.split())
_GENERATED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


def skip_file(name: str) -> Skip | None:
    """Why a file is skipped because of its own name (the last part of its path), or None."""
    if _PRIVATE(name):
        return "secret"
    if name.startswith("."):
        return "hidden"
    return "binary" if PurePath(name).suffix.lower() in _BINARY_SUFFIXES else None


def skip_folder(name: str) -> Skip | None:
    """The same for a folder, all of whose content is skipped with it."""
    return "hidden" if name.startswith(".") else "generated" if name in _GENERATED_FOLDERS else None


def git_ignored(folder: Path) -> frozenset[str]:
    """What git ignores below `folder`, as paths relative to it; an ignored folder is named once, without its content.

    Empty where `folder` is in no work tree, where git is absent, and where `folder` itself is ignored: then somebody
    named it on purpose.
    """
    command = ["git", "-C", str(folder)]
    # The repository may be anybody's: its settings must not be able to make git run a program of theirs.
    command += ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=", "-c", "safe.directory=*"]
    command += ["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"]
    try:
        found = subprocess.run(command, capture_output=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    names = [name.decode("utf-8", "surrogateescape").rstrip("/") for name in found.stdout.split(b"\0") if name]
    return frozenset() if {"", "."} & set(names) else frozenset(names)
