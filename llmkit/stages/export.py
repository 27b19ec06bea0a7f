"""`llmkit export`: a model written for other programs, into a folder outside of the registry.

What is written is no artifact: it is for elsewhere, and the registry keeps what it was made from. The folder says in
`llmkit-export.json` what that was. It is made beside its place and put there by one rename, so that whoever looks finds
all of it or nothing. That is done in `run`, and not in `deliver`, because there is nothing that could be reused.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit import __version__
from llmkit.config.base import option
from llmkit.errors import UsageError
from llmkit.reporting.blocks import Block, Line, Table
from llmkit.reporting.figures import size
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Outcome, Stage, StageConfig
from llmkit.stages.turns import stops_of

if TYPE_CHECKING:
    from llmkit.exporting.opening import Opened
    from llmkit.registry.store import Registry

Format = Literal["merged", "gguf", "onnx", "ollama"]
RECORD = "llmkit-export.json"
_DTYPES: Mapping[Format, Mapping[str, str]] = {
    "merged": {"auto": "auto", "float32": "float32", "bfloat16": "bfloat16", "float16": "float16"},
    "gguf": {"auto": "f16", "float32": "f32", "bfloat16": "bf16", "float16": "f16", "q8_0": "q8_0"},
    "ollama": {"auto": "f16", "float32": "f32", "bfloat16": "bf16", "float16": "f16", "q8_0": "q8_0"},
    "onnx": {"auto": "float32", "float32": "float32"},
}
"""Format -> `--dtype` -> what the format calls it."""


class ExportConfig(StageConfig):
    """Options of `llmkit export`."""

    model: str = option(..., "Model or adapter to export; an adapter is merged into its base.", argument="REF")
    to: Format = option(
        ..., "merged: transformers; gguf: llama.cpp; onnx: ONNX Runtime; ollama: GGUF with a Modelfile."
    )
    out: str = option(..., "Folder to write; must be new or empty.", keyed=False)
    dtype: Literal["auto", "float32", "bfloat16", "float16", "q8_0"] = option(
        "auto", "Of the weights; auto: float16 in GGUF, float32 in ONNX, else the base's. q8_0: GGUF, 8 bits."
    )
    int8: bool = option(False, "With onnx: also a model with int8 weights, for phones and small machines.")
    system: str | None = option(None, "With ollama: the message that every conversation begins with.")
    overwrite: bool = option(False, "Replace the folder if an export made it.", keyed=False)


def inputs(cfg: ExportConfig, registry: Registry) -> Inputs:
    """The model, of an adapter also its base; what is wrong with the options or the folder is said before that."""
    if cfg.name:
        raise UsageError("an export is no artifact and has no --name", mend="leave it out; --out is where it goes")
    if cfg.dtype not in _DTYPES[cfg.to]:
        raise UsageError(f"--to {cfg.to} has no {cfg.dtype}", mend=f"choose one of {', '.join(_DTYPES[cfg.to])}")
    if cfg.int8 and cfg.to != "onnx":
        raise UsageError(f"--int8 is for --to onnx, not for {cfg.to}", mend="in GGUF, --dtype q8_0 is the like of it")
    if cfg.system is not None and cfg.to != "ollama":
        raise UsageError(f"--system is for --to ollama, not for {cfg.to}", mend="leave it out")
    check_place(Path(cfg.out), overwrite=cfg.overwrite)
    found = models.find_model(cfg.model, registry)
    if models.is_endpoint(found):
        raise UsageError(f"{cfg.model} answers over the network; its weights are not here", mend="name a model that is")
    return found


def check_place(out: Path, *, overwrite: bool) -> None:
    """Raise UsageError unless a folder can be put here without losing anything that an export did not make."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is no folder", mend="name a new folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / RECORD).is_file():
        raise UsageError(f"{out} has something in it that no export made", mend="name a new folder, or empty this one")
    if not overwrite:
        raise UsageError(f"{out} has an export in it", mend="name a new folder, or replace it with --overwrite")


def run(cfg: ExportConfig, found: Inputs, ctx: Context) -> Outcome:
    """Write and check the files beside their place, then put them there."""
    from llmkit.exporting.packages import require

    if cfg.to in ("gguf", "ollama"):
        require(("gguf",), "GGUF")
    if cfg.to == "onnx":
        require(("onnx", "onnxscript", "onnxruntime"), "ONNX")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with placed(Path(cfg.out), overwrite=cfg.overwrite) as folder:
        made = _written(cfg, found, folder)
        payload = {
            "to": cfg.to,
            "model": cfg.model,
            "inputs": [ref.model_dump(mode="json") for ref in found.refs()],
            "llmkit": __version__,
            "made": started,
            **made,
        }
        listed = sorted(path for path in folder.rglob("*") if path.is_file())
        files = [{"name": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size} for path in listed]
        record = {**payload, "files": files}
        (folder / RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for note in made["notes"]:
        ctx.reporter.warn(note)
    return Outcome(metrics=made["metrics"], payload={**record, "out": str(Path(cfg.out))}, device="cpu")


@contextmanager
def placed(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder beside `out`, which takes its place when the block ends, and is gone when it fails.

    Raises:
        StorageError: it cannot be written.
        UsageError: something came to lie at `out` meanwhile.
    """
    from llmkit.registry.disk import sync, sync_tree, writing

    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
        before = out.with_name(f"{beside.name}.before")
        beside.mkdir()
        try:
            yield beside
            sync_tree(beside)
            check_place(out, overwrite=overwrite)
            if out.exists():
                out.rename(before)
            beside.rename(out)
            sync(out.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            if before.exists() and not out.exists():
                before.rename(out)
            shutil.rmtree(before, ignore_errors=True)


def _written(cfg: ExportConfig, found: Inputs, folder: Path) -> dict[str, Any]:
    """Write the files; what was compared and what to know of them, JSON-ready: `checks`, `notes`, `metrics`."""
    from llmkit.exporting.merging import Weighted, export_merged, open_merged

    base, adapter = models.folders_of(found, "model")
    if cfg.to == "merged":
        check = export_merged(base, Weighted(adapter, cfg.model) if adapter else None, folder, dtype=cfg.dtype)
        said = f"read again from disk: outputs differ from those of {check.oracle} by {check.merged:.1g}"
        return _made([f"{said} (tolerance {check.tolerance:.1g}), saved as {check.dtype}"], asdict(check))
    opened = open_merged(base, adapter, cfg.model)
    if cfg.to == "onnx":
        return _onnx(cfg, opened, folder, adapter or base)
    return _gguf(cfg, opened, folder)


def _gguf(cfg: ExportConfig, opened: Opened, folder: Path) -> dict[str, Any]:
    from llmkit.exporting.gguf import write_gguf
    from llmkit.exporting.ollama import modelfile

    kind: Any = _DTYPES[cfg.to][cfg.dtype]
    file = f"{_short(cfg.model)}-{kind}.gguf"
    stops = stops_of(opened.tokenizer)
    text = ""
    if cfg.to == "ollama":
        text = modelfile(opened.tokenizer, file, stops=stops, context=opened.context, system=cfg.system)
    facts = write_gguf(opened, folder / file, name=_short(cfg.model), kind=kind, stops=stops)
    checks = [
        f"{facts.tensors} tensors of a {facts.architecture} in {kind}, read again from the file: off by at most "
        f"{facts.error:.1g} of a tensor's largest value",
        f"words are cut as llama.cpp's '{facts.pre}'" if facts.pre else "tokens are merged as SentencePiece's",
    ]
    if text:
        (folder / "Modelfile").write_text(text, encoding="utf-8")
        checks.append(f"take it in with: ollama create {_short(cfg.model)} -f {Path(cfg.out) / 'Modelfile'}")
    return _made(checks, {"error": facts.error, "tensors": facts.tensors}, facts.notes)


def _onnx(cfg: ExportConfig, opened: Opened, folder: Path, holder: Path) -> dict[str, Any]:
    from llmkit.exporting.onnx import write_int8, write_onnx
    from llmkit.exporting.opening import save_beside

    facts = write_onnx(opened, folder)
    save_beside(opened, folder, holder=holder)
    opened.config.save_pretrained(folder)
    checks = [
        f"{', '.join(facts.inputs)} -> {', '.join(facts.outputs)}: run by ONNX Runtime, outputs differ from torch's by "
        f"{facts.difference:.1g} (tolerance {facts.tolerance:.1g})"
    ]
    metrics: dict[str, Any] = {"difference": facts.difference, "bytes": facts.bytes}
    if opened.use == "causal":
        checks.append("it has no cache of keys and values: each new token reads the whole text again")
    notes = []
    if cfg.int8:
        small = write_int8(opened, folder)
        what = "least cosine" if opened.use == "embed" else "agreement"
        checks.append(
            f"int8: {small.ratio:.0%} of the size; {what} with float32 on six texts {small.agreement:.3f}, "
            f"outputs differ by {small.difference:.2g} and reach {small.largest:.2g}"
        )
        metrics |= {"int8_ratio": small.ratio, "int8_agreement": small.agreement, "int8_bytes": small.bytes}
        if small.doubtful:
            notes.append(f"the int8 model often says something else ({what} {small.agreement:.3f}): evaluate it first")
    return _made(checks, metrics, notes)


def _made(checks: Sequence[str], metrics: Mapping[str, Any], notes: Sequence[str] = ()) -> dict[str, Any]:
    return {"checks": list(checks), "metrics": dict(metrics), "notes": list(notes)}


def _short(ref: str) -> str:
    """A name for a file, of a reference."""
    from llmkit.registry.refs import slug

    return slug(Path(ref).name.partition("@")[0])


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The files, and what was compared."""
    rows = [(file["name"], size(file["bytes"])) for file in payload["files"]]
    blocks: list[Block] = [Table(("file", "size"), rows, numeric=frozenset({1}))]
    return [*blocks, *(Line(check, "good") for check in payload["checks"]), Line(f"in {payload['out']}")]


def headline(payload: Mapping[str, Any]) -> str:
    """`gguf, 12 MB, in out/`."""
    return f"{payload['to']}, {size(sum(file['bytes'] for file in payload['files']))}, in {payload['out']}"


STAGE = Stage(
    name="export",
    version=1,
    kind="report",
    config=ExportConfig,
    inputs=inputs,
    run=run,
    default_name=lambda cfg, found: None,
    show=show,
    headline=headline,
)
