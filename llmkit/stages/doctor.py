"""What this machine can do and what it lacks: facts, each with the line that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "note", "missing"]

LOW_DISK = 5 * 1024**3
"""Bytes below which training and indexing are likely to meet a full disk."""

LOCAL_PORTS = (11434, 8000, 8080, 1234)
"""Where Ollama, vLLM, llama.cpp's server and LM Studio listen by default."""


@dataclass(frozen=True)
class Check:
    """One fact about the machine, how it stands, and what to do where it is not well."""

    name: str
    state: State
    finding: str
    mend: str = ""


def examine(home: Path) -> Iterator[Check]:
    """All checks, one by one: the slow ones (torch, network) come last."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _versions(("llmkit", "torch", "transformers", "peft", "accelerate", "sentence-transformers", "chromadb"))
    yield _disk(home)
    yield from _extras()
    yield from _devices()
    yield _hub()
    yield from _endpoints()


def _versions(names: Sequence[str]) -> Check:
    found = {name: _version(name) for name in names}
    missing = [name for name, version in found.items() if version is None]
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if missing:
        return Check("packages", "missing", f"not installed: {', '.join(missing)}", "pip install --upgrade llmkit")
    return Check("packages", "ok", text)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _disk(home: Path) -> Check:
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    finding = f"{free / 1024**3:.1f} GiB free for {home}"
    if not writable:
        return Check("disk", "missing", f"{existing} cannot be written to", "set LLMKIT_HOME to a folder of yours")
    if free < LOW_DISK:
        return Check("disk", "note", finding, "llmkit registry gc, or set LLMKIT_HOME to a larger disk")
    return Check("disk", "ok", finding)


def _extras() -> Iterator[Check]:
    """Each extra that the installed llmkit declares, by its own metadata, so that none is forgotten here."""
    try:
        metadata = importlib.metadata.metadata("llmkit")
    except importlib.metadata.PackageNotFoundError:
        return
    for extra in metadata.get_all("Provides-Extra") or []:
        wanted = [
            re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0]
            for line in metadata.get_all("Requires-Dist") or []
            if re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", line)
        ]
        missing = [name for name in wanted if _version(name) is None]
        if missing:
            yield Check(f"extra {extra}", "note", f"lacks {', '.join(missing)}", f"pip install 'llmkit[{extra}]'")
        else:
            yield Check(f"extra {extra}", "ok", "installed")


def _devices() -> Iterator[Check]:
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    yield Check("cpu", "ok", f"{os.cpu_count()} cores, {memory:.0f} GiB memory, {torch.get_num_threads()} threads")
    from llmkit.train.precision import probe

    for device in ["cpu", *([f"cuda:{n}" for n in range(torch.cuda.device_count())])]:
        found = probe(torch.device(device))
        words = f"bf16 {found.bf16:,.0f} GFLOP/s, fp32 {found.fp32:,.0f} GFLOP/s"
        yield Check(f"{device} matrices", "ok", f"{words}: training uses {found.precision}")
    if torch.cuda.is_available():
        for n in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(n)
            yield Check(f"cuda:{n}", "ok", f"{properties.name}, {properties.total_memory / 1024**3:.0f} GiB")
    else:
        yield Check("gpu", "note", "no CUDA device; everything runs on the CPU")


def _hub() -> Check:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Check("hub", "note", "HF_HUB_OFFLINE is set: nothing is downloaded", "unset HF_HUB_OFFLINE")
    import httpx

    try:
        httpx.head(constants.ENDPOINT, timeout=3.0)
    except httpx.HTTPError as error:
        finding = f"not reachable ({type(error).__name__}); local models and the offline extra work"
        return Check("hub", "note", finding, "check the network, or set HF_ENDPOINT to a mirror")
    return Check("hub", "ok", "reachable")


def _endpoints() -> Iterator[Check]:
    from llmkit.generation.endpoint import probe

    found = False
    for port in LOCAL_PORTS:
        url = f"http://127.0.0.1:{port}/v1"
        for model in probe(url):
            found = True
            yield Check("endpoint", "ok", f"--model openai:{url}#{model}")
    if not found:
        ports = ", ".join(str(port) for port in LOCAL_PORTS)
        yield Check("endpoint", "note", f"no OpenAI-compatible server on 127.0.0.1 (ports {ports})")
