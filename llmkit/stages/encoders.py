"""Which encoder embeds: what `--embedder` names, how an index records it, and how it is opened again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.config.trust import leaves_this_machine, user_file
from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.registry.digests import DIGEST_AREA
from llmkit.registry.refs import EndpointRef, HubRef, PathRef, RegistryRef
from llmkit.stages import models
from llmkit.stages.base import Inputs, Raw

if TYPE_CHECKING:
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.retrieval.embed import Embedder, EncoderFolder

ROLE = "embedder"
MERGED_AREA = "encoders"
"""In the cache: adapters merged into their bases, so that a question needs neither torch nor peft."""


@dataclass(frozen=True)
class Encoder:
    """An encoder that was found; nothing of it is read before it is opened.

    Attributes:
        digest: of its space: equal digests, equal vectors.
        lasting: a reference that means the same from any directory and on another day; None for the default.
    """

    name: str
    digest: str
    lasting: str | None
    open: Callable[[], Embedder]


def find(ref: str | None, registry: Registry) -> Inputs:
    """What `--embedder` names, with the role `embedder`: an artifact with its base, or a raw input whose value is an
    `Encoder`. A folder goes first, then the registry, then the catalogue.

    Raises:
        NotFoundError: it is not there.
        UnavailableError: the default is neither installed nor to be had, or the Hub or an endpoint does not answer.
        UsageError: it is a model, and no encoder.
        DataError: it is damaged, or not what the catalogue says.
    """
    if ref is not None and _is_packaged(ref):
        ref = None
    if ref is not None and not Path(ref).expanduser().is_dir():
        parsed = models.named(ref, registry)
        if isinstance(parsed, EndpointRef):
            return _raw(_endpoint(parsed, registry))
        if isinstance(parsed, HubRef):
            return _raw(_on_hub(parsed, registry))
        if isinstance(parsed, PathRef):
            raise NotFoundError(
                f"no encoder folder at {ref}", mend="give a sentence-transformers folder, a Hub id or an artifact"
            )
        return _artifact(parsed, registry)
    return _raw(_in_folder(ref, registry))


def of(found: Inputs, registry: Registry) -> Encoder:
    """The encoder among a command's inputs, as `find` put it there."""
    if ROLE in found.raw:
        encoder: Encoder = found.raw[ROLE].value
        return encoder
    return _tuned(found.artifacts[ROLE], found, registry)


def reopened(lasting: str | None, digest: str, wanted_by: str, registry: Registry) -> Embedder:
    """The encoder of an index, as the index recorded it.

    Args:
        wanted_by: the index, in words.

    Raises:
        DataError: what is there now is another encoder.
        UsageError: it is an endpoint on another machine, which the user's own file does not allow.
        NotFoundError, UnavailableError: it is gone, or does not answer.
    """
    if lasting is not None and leaves_this_machine(lasting):
        address = lasting.removeprefix("openai:").partition("#")[0]
        raise UsageError(
            f"{wanted_by} was embedded by {lasting}, and a question to it would be sent there",
            mend=f"if you want that, write `allow_endpoints: [{address}]` into {user_file()}",
        )
    kept = _fetched(lasting, registry)
    if kept is not None and kept.digest == digest:
        return kept.open()
    encoder = of(find(lasting, registry), registry)
    if encoder.digest != digest:
        raise DataError(
            f"{wanted_by} was built with another {encoder.name} than the one that is here",
            mend="build it again: `llmkit index ... --rebuild`, or bring back the encoder it was built with",
        )
    return encoder.open()


def _raw(encoder: Encoder) -> Inputs:
    return Inputs(raw={ROLE: Raw(encoder.name, encoder.digest, encoder)})


def _in_folder(ref: str | None, registry: Registry) -> Encoder:
    from llmkit.retrieval.embed import find_encoder

    if ref is not None:
        path = Path(ref).expanduser().resolve()
        if models.is_adapter(path):
            return _merged_folder(path, registry)
        ref = str(path)
    return _local(find_encoder(ref, cache=_memory(registry)), ref)


def _on_hub(ref: HubRef, registry: Registry) -> Encoder:
    from llmkit.registry.catalog import CATALOG, PinnedRef, pinned
    from llmkit.retrieval.embed import find_encoder

    if isinstance(ref, PinnedRef) and ref.entry.use != "embed":
        names = ", ".join(name for name, entry in CATALOG.items() if entry.use == "embed")
        raise UsageError(f"{ref.repo} is no encoder of sentences", mend=f"published encoders: {names}")
    folder = find_encoder(ref, cache=_memory(registry))
    # A snapshot is named by its commit. Asked for by that, it is found again without asking the Hub.
    commit = folder.path.name if folder.path.parent.name == "snapshots" else ref.revision
    lasting = pinned(HubRef(ref.repo, commit), registry.layout.trust)
    return _local(folder, str(lasting))


def _fetched(lasting: str | None, registry: Registry) -> Encoder | None:
    """An encoder of the Hub as it lies in the cache: to ask an index, nobody else need be asked first."""
    if lasting is None or not lasting.startswith("hf:"):
        return None
    ref = models.named(lasting, registry)
    from llmkit.models.hub import cached
    from llmkit.retrieval.embed import hub_folder

    if not isinstance(ref, HubRef) or (path := cached(ref.repo, revision=ref.revision)) is None:
        return None
    return _local(hub_folder(ref, path, _memory(registry)), lasting)


def _local(folder: EncoderFolder, lasting: str | None) -> Encoder:
    def opened() -> Embedder:
        from llmkit.retrieval.embed import open_folder

        return open_folder(folder)

    return Encoder(folder.name, folder.digest, lasting, opened)


def _is_packaged(ref: str) -> bool:
    from llmkit.retrieval.embed import packaged_encoder

    return packaged_encoder(ref) is not None


def _artifact(ref: RegistryRef, registry: Registry) -> Inputs:
    from llmkit.models.sentence_files import is_sentence_encoder

    found = models.find_model(str(ref), registry, role=ROLE)
    artifact = found.artifacts[ROLE]
    if not is_sentence_encoder(artifact.path):
        raise UsageError(
            f"{artifact.ref} is no encoder of sentences",
            mend=f"make one: `llmkit finetune-lora --task embed --model {artifact.name} --data PAIRS`; or name another",
        )
    return found


def _tuned(artifact: Artifact, found: Inputs, registry: Registry) -> Encoder:
    from llmkit.registry.values import digest_of
    from llmkit.retrieval.embed import EncoderFolder

    base_role = f"{ROLE}-{models.BASE}"
    if base_role not in found.artifacts and base_role not in found.raw:
        return _local(EncoderFolder(artifact.ref, artifact.path, artifact.digest), artifact.ref)
    digest = digest_of([artifact.digest, found.digests()[base_role]])

    def opened() -> Embedder:
        return _merged(found, EncoderFolder(artifact.ref, artifact.path, digest), artifact.digest, registry)

    return Encoder(artifact.ref, digest, artifact.ref, opened)


def _merged_folder(path: Path, registry: Registry) -> Encoder:
    """An adapter that is a folder, on the base that it names."""
    from llmkit.registry.values import digest_of
    from llmkit.retrieval.embed import EncoderFolder

    found = models.find_model(str(path), registry, role=ROLE)
    digest = digest_of([*sorted(found.digests().values())])

    def opened() -> Embedder:
        return _merged(found, EncoderFolder(path.name, path, digest), digest, registry)

    return Encoder(path.name, digest, str(path), opened)


def _merged(found: Inputs, adapter: EncoderFolder, source: str, registry: Registry) -> Embedder:
    """An adapter merged into its base once, and opened as the folder that this is.

    Args:
        source: the digest that the manifest of an index with this encoder holds, for as long as which it is kept.
    """
    from llmkit.retrieval.embed import EncoderFolder, open_folder

    def build(out: Path) -> None:
        from llmkit.exporting.merging import Weighted, export_merged

        base, own = models.folders_of(found, ROLE)
        export_merged(base, Weighted(own or adapter.path, adapter.name), out, dtype="float32")

    folder = registry.cached(MERGED_AREA, adapter.digest, sources=[source], build=build)
    return open_folder(EncoderFolder(adapter.name, folder, adapter.digest))


def _endpoint(ref: EndpointRef, registry: Registry) -> Encoder:
    import numpy as np

    from llmkit.models.server import Server
    from llmkit.registry.trust import Record, agreed
    from llmkit.retrieval.remote import RemoteEmbedder, is_same, space_digest

    server = Server(ref.base_url)
    asked = RemoteEmbedder(server, ref.model)
    seen = asked.fingerprint()
    spaces: list[dict[str, object]] = []

    def settle(known: Record) -> Record:
        spaces.extend(known.get("spaces", []))
        # The one it is now goes last.
        same = [space for space in spaces if is_same(np.array(space["fingerprint"], np.float32), seen)]
        now = same[0] if same else {"digest": space_digest(str(ref), seen), "fingerprint": seen.tolist()}
        spaces[:] = [space for space in spaces if space["digest"] != now["digest"]] + [now]
        return {"spaces": spaces}

    digest = str(agreed(registry.layout.trust, str(ref), settle)["spaces"][-1]["digest"])
    return Encoder(asked.name, digest, str(ref), lambda: RemoteEmbedder(server, ref.model, digest))


def _memory(registry: Registry) -> Path | None:
    return registry.layout.cache / DIGEST_AREA if registry.home.is_dir() else None
