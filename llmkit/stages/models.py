"""Models as inputs: what a reference names, and how it is loaded with its adapter and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.registry.refs import EndpointRef, HubRef, PathRef, Ref, RegistryRef, parse
from llmkit.stages.base import Inputs, Raw

if TYPE_CHECKING:
    from llmkit.generation.endpoint import EndpointModel
    from llmkit.generation.local import LocalModel
    from llmkit.models.load import LoadedModel
    from llmkit.registry.artifact import Artifact, DataSchema
    from llmkit.registry.store import Registry

BASE = "base"
ADAPTER_CONFIG = "adapter_config.json"
_HELD: Mapping[DataSchema, str] = {
    "text": "texts",
    "chat": "chat examples",
    "label": "labelled texts",
    "span": "questions with answers in a context",
    "preference": "preferences",
    "tag": "texts with tagged words",
}
UNKNOWN_CONTEXT = 2048
"""For architectures that state no limit, as lm-evaluation-harness takes it."""


def find_model(ref: str, registry: Registry, *, role: str = "model") -> Inputs:
    """What a model reference names: an artifact (of an adapter also its base), a folder, the Hub, an endpoint.

    `all-MiniLM-L6-v2` is the encoder of the `offline` extra, wherever it is installed. A name that the registry does
    not have may be an alias of the catalogue.

    Raises:
        NotFoundError: it is not there, or an adapter's base is gone.
        UsageError: it is no model.
        UnavailableError: the package that holds it is not installed.
    """
    from llmkit.registry.digests import input_digest
    from llmkit.registry.values import digest_of
    from llmkit.retrieval.embed import packaged_encoder

    if (encoder := packaged_encoder(ref)) is not None:
        return Inputs(raw={role: Raw(ref, encoder.digest, encoder.path)})
    parsed = named(ref, registry)
    if isinstance(parsed, PathRef):
        folder = parsed.path.absolute()
        if not folder.is_dir():
            raise NotFoundError(f"no model folder at {ref}", mend="give a folder with config.json and safetensors")
        raw = {role: Raw(ref, input_digest([folder], root=folder).digest, folder)}
        if is_adapter(folder):
            raw[_base_role(role)] = _named_base(folder)
        return Inputs(raw=raw)
    if isinstance(parsed, HubRef | EndpointRef):
        # Neither says what it holds before it is used: the name is all there is to know it by.
        return Inputs(raw={role: Raw(str(parsed), digest_of(str(parsed)), parsed)})
    try:
        artifact = registry.resolve(ref, "model", "adapter")
    except NotFoundError as error:
        from llmkit.registry.catalog import CATALOG

        if isinstance(parsed, RegistryRef) and not registry.versions(parsed.name):
            error.mend = f"{error.mend}; or name a published one: {', '.join(CATALOG)}"
        raise
    if artifact.kind == "model":
        return Inputs({role: artifact})
    base = base_of(artifact, registry)
    if isinstance(base, Raw):
        return Inputs({role: artifact}, {_base_role(role): base})
    return Inputs({role: artifact, _base_role(role): base})


def named(ref: str, registry: Registry) -> Ref:
    """What a model reference spells, with the catalogue's aliases; an artifact of the same name goes first."""
    from llmkit.registry.catalog import CATALOG, pinned

    alias = ref.lower() if ref.lower() in CATALOG else ref
    parsed = parse(alias)
    if not isinstance(parsed, RegistryRef | HubRef):
        return parsed
    return pinned(parsed, registry.layout.trust, known=alias in CATALOG and bool(registry.versions(alias)))


def sequence_limit(loaded: LoadedModel, wanted: int) -> int:
    """Tokens of the longest sequence: what is wanted (0: the model's context), which the model must be able to read.

    Raises:
        UsageError: it is longer than the model's context.
    """
    check_context(loaded.context, wanted)
    return wanted or loaded.context or UNKNOWN_CONTEXT


def check_context(context: int | None, wanted: int) -> None:
    """Raise UsageError if a model with this context (None: any) cannot read sequences as long as is wanted."""
    if context and wanted > context:
        raise UsageError(
            f"sequence length {wanted} is past the model's context of {context} tokens",
            mend=f"use --sequence-length {context} or less, or a model that was trained on longer sequences",
        )


def find_tokenizer(ref: str, registry: Registry) -> Inputs:
    """What a tokenizer reference names: an artifact (a model brings its own), a folder, or the Hub; role `tokenizer`.

    Raises:
        NotFoundError: it is not there.
        UsageError: it names an endpoint or something without a tokenizer.
    """
    parsed = parse(ref)
    if isinstance(parsed, RegistryRef):
        return Inputs({"tokenizer": registry.resolve(parsed, "tokenizer", "model", "adapter")})
    if isinstance(parsed, EndpointRef):
        raise UsageError(f"{ref} does not hand out its tokenizer", mend="name one of the registry, a folder or the Hub")
    return find_model(ref, registry, role="tokenizer")


def tokenizer_of(data: Artifact, registry: Registry) -> Artifact:
    """The tokenizer that `preprocess` made together with a dataset, or was given for it.

    Raises:
        NotFoundError: there is none.
    """
    from llmkit.registry.shelf import find_input

    for used in data.manifest.inputs:
        if used.role == "tokenizer" and (found := find_input(registry.layout, used)) is not None:
            return found
    for ref in (*(data.manifest.completes or ()), f"{data.name}-tokenizer"):
        try:
            return registry.resolve(ref, "tokenizer")
        except NotFoundError:
            continue
    raise NotFoundError(
        f"the dataset {data.ref} has no tokenizer of its own",
        mend="name one by --tokenizer, or make the dataset again without --tokenizer none",
    )


def require_schema(data: Artifact, *schemas: DataSchema) -> None:
    """Raise DataError, with what to do, if a dataset holds none of these."""
    found = data.manifest.data_schema
    if found in schemas:
        return
    if schemas[0] == "text":
        message, mend = f"holds {_HELD.get(found or 'text')}, and texts are needed", "name a dataset of documents"
    elif found == "text":
        message = f"holds texts, and {_HELD[schemas[0]]} are needed"
        mend = f"make pairs of them: `llmkit preprocess {data.name} --reader docstrings`, or name a file of examples"
    else:
        message = f"holds {_HELD.get(found or 'text')}, and {' or '.join(_HELD[each] for each in schemas)} are needed"
        mend = "name another dataset, or another --task"
    raise DataError(f"{data.ref} {message}", mend=mend)


def folder(found: Inputs, role: str) -> Path | None:
    """The local folder of a model or tokenizer, fetched from the Hub if need be; None where the role is not taken."""
    if role in found.artifacts:
        return found.artifacts[role].path
    return folder_of(found.raw[role]) if role in found.raw else None


def base_of(adapter: Artifact, registry: Registry) -> Artifact | Raw:
    """The model an adapter was made for: an artifact known by its digest, else the folder or Hub model it was.

    Raises:
        NotFoundError: it is not there any more.
    """
    from llmkit.registry.shelf import find_input

    for used in adapter.manifest.inputs:
        if used.role not in (BASE, "model"):
            continue
        if used.kind is None:
            try:
                return find_model(used.ref, registry).raw["model"]
            except NotFoundError:  # a relative path, seen from elsewhere
                return _named_base(adapter.path)
        found = find_input(registry.layout, used)
        if found is None:
            raise NotFoundError(
                f"the base of {adapter.ref}, {used.ref} ({used.digest[:12]}), is not in the registry",
                mend="make it again with the same options, or restore it",
            )
        return found if found.kind == "model" else base_of(found, registry)
    raise DataError(f"{adapter.ref} does not say what its base is", where=str(adapter.path))


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter alone, as peft writes it."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()


def _named_base(adapter: Path) -> Raw:
    """The folder that an adapter's own configuration names as its base."""
    from llmkit.registry.digests import input_digest

    where = adapter / ADAPTER_CONFIG
    try:
        named = str(json.loads(where.read_text("utf-8"))["base_model_name_or_path"] or "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("the adapter's configuration cannot be read", where=str(where)) from error
    for folder in (Path(named).expanduser(), adapter / named):
        if named and (folder / "config.json").is_file():
            return Raw(str(folder), input_digest([folder], root=folder).digest, folder)
    raise NotFoundError(
        f"the adapter's base, '{named}', is no folder on this machine",
        where=str(where),
        mend="fetch the base, and write the path of its folder as base_model_name_or_path",
    )


def folders_of(found: Inputs, role: str = "model") -> tuple[Path, Path | None]:
    """The folder of a role's model, and where that is an adapter: of its base and of the adapter.

    Raises:
        UsageError: it is an endpoint, whose weights are elsewhere.
        DataError: the adapter was made for another base.
    """
    own = found.artifacts[role].path if role in found.artifacts else folder_of(found.raw[role])
    base = _base_role(role)
    if base in found.artifacts:
        return found.artifacts[base].path, own
    if base in found.raw:
        under = folder_of(found.raw[base])
        _check_base(under, own, found.raw[base].ref)
        return under, own
    return own, None


def content_of(folder: Path) -> str:
    """A digest of a model's weights and configuration; files of the Hub's cache are named by theirs."""
    from llmkit.registry.digests import digest_of_files, hash_file

    files = [folder / "config.json", *folder.glob("*.safetensors")]
    real = {file.name: file.resolve() for file in files}
    return digest_of_files(
        {name: file.name if file.parent.name == "blobs" else hash_file(file) for name, file in real.items()}
    )


def _check_base(base: Path, adapter: Path, ref: str) -> None:
    from llmkit.models.load import TASK_FILE

    try:
        wanted = json.loads((adapter / TASK_FILE).read_text("utf-8")).get(BASE)
    except (OSError, ValueError, AttributeError):
        return  # made elsewhere: only its shapes can tell
    if wanted and content_of(base) != wanted:
        raise DataError(
            f"the adapter was made for another base than {ref}: the weights or the configuration there have changed",
            where=str(adapter),
            mend="restore the base as it was, or tune again",
        )


def is_endpoint(found: Inputs, role: str = "model") -> bool:
    """Whether the model of this role is behind an endpoint."""
    return role in found.raw and isinstance(found.raw[role].value, EndpointRef)


def load(found: Inputs, role: str = "model", *, trainable: bool = False) -> LoadedModel:
    """The model of a role with its adapter and tokenizer, in float32 on the CPU.

    Raises:
        UsageError: it is an endpoint, whose weights are elsewhere.
        DataError: a file is damaged; it is named.
    """
    from llmkit.models.load import load_model

    folder, adapter = folders_of(found, role)
    return load_model(folder, adapter=adapter, trainable=trainable)


def folder_of(raw: Raw) -> Path:
    """The local folder of a model that is no artifact, fetched from the Hub and with pickled weights converted."""
    if isinstance(raw.value, EndpointRef):
        raise UsageError(
            f"{raw.ref} answers over the network; its weights are not here",
            mend="name a model of the registry or the Hub",
        )
    from llmkit.models.convert import with_safetensors

    if isinstance(raw.value, HubRef):
        from llmkit.models.hub import fetch, fetch_pinned
        from llmkit.registry.catalog import PinnedRef

        if isinstance(raw.value, PinnedRef):
            return fetch_pinned(raw.value)
        return with_safetensors(fetch(raw.value.repo, revision=raw.value.revision))
    folder: Path = raw.value
    return with_safetensors(folder)


def generator(found: Inputs, role: str = "model", *, device: str = "auto") -> LocalModel | EndpointModel:
    """The model of a role as something that writes text.

    Raises:
        UnavailableError: the device or the endpoint is not there.
    """
    if is_endpoint(found, role):
        from llmkit.generation.endpoint import EndpointModel

        ref: Any = found.raw[role].value
        return EndpointModel(ref.base_url, ref.model)
    return local(load(found, role), device=device)


def local(loaded: LoadedModel, *, device: str = "auto") -> LocalModel:
    """A loaded model on its device, ready to generate and to score.

    Raises:
        UnavailableError: this machine has no such device.
    """
    from llmkit.generation.local import LocalModel
    from llmkit.train.precision import resolve_device

    return LocalModel(loaded.model.to(resolve_device(device)), loaded.tokenizer, loaded.objective)


def _base_role(role: str) -> str:
    return BASE if role == "model" else f"{role}-{BASE}"
