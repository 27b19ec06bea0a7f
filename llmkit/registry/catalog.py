"""Published models under short names, each pinned: one revision, and the sha256 of its files.

`revision` is a commit of the Hub, whose small files git's own digests hold. `sha256` are those of the files that were
found on record in at least two public repositories that had downloaded them by themselves, as of November 2026; an
entry claims nothing of a file that is not in it. Of such files the digest is kept at the first download, below the
registry's `trust/`, and what comes later must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from llmkit.registry.refs import HubRef, Ref, RegistryRef

Use = Literal["embed", "generate", "rerank"]


@dataclass(frozen=True)
class Entry:
    """A published model.

    Attributes:
        sha256: by file name; of what is not named here nothing is claimed.
        licence: its SPDX name.
        about: what it is good for, in a few words.
        prompts: what its authors put before a `query` and a `document`, where its own files do not say it.
        extra: of this package, which brings the same model without the Hub.
    """

    repository: str
    revision: str
    use: Use
    licence: str
    about: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""

    @property
    def ref(self) -> HubRef:
        return HubRef(self.repository, self.revision)


@dataclass(frozen=True)
class PinnedRef(HubRef):
    """A repository of the Hub at a revision of the catalogue: what is fetched of it is compared.

    `records` is where digests are kept of files that the entry does not name; None: they are not compared.
    """

    records: Path | None = field(default=None, compare=False)

    __str__ = HubRef.__str__

    @property
    def entry(self) -> Entry:
        return next(entry for entry in CATALOG.values() if entry.ref == HubRef(self.repo, self.revision))


CATALOG: Mapping[str, Entry] = MappingProxyType(
    {
        "all-minilm-l6-v2": Entry(
            "sentence-transformers/all-MiniLM-L6-v2",
            "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            "embed",
            "Apache-2.0",
            "the default encoder: English, 256 tokens, 91 MB",
            {
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
            extra="llmkit[offline]",
        ),
        "multilingual-e5-small": Entry(
            "intfloat/multilingual-e5-small",
            "614241f622f53c4eeff9890bdc4f31cfecc418b3",
            "embed",
            "MIT",
            "encoder: 94 languages, Japanese among them, 512 tokens, 471 MB",
            {
                "model.safetensors": "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
                "tokenizer.json": "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
            },
            # The model's page: without them its vectors are worse.
            prompts={"query": "query: ", "document": "passage: "},
        ),
        "paraphrase-multilingual-minilm-l12-v2": Entry(
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
            "e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
            "embed",
            "Apache-2.0",
            "encoder: 50 languages, for sentences: 128 tokens, 471 MB",
            {
                "model.safetensors": "eaa086f0ffee582aeb45b36e34cdd1fe2d6de2bef61f8a559a1bbc9bd955917b",
                "tokenizer.json": "2c3387be76557bd40970cec13153b3bbf80407865484b209e655e5e4729076b8",
            },
        ),
        "ms-marco-minilm-l6-v2": Entry(
            "cross-encoder/ms-marco-MiniLM-L6-v2",
            "c5ee24cb16019beea0893ab7796b1df96625c6b8",
            "rerank",
            "Apache-2.0",
            "scores a question with a passage, English",
        ),
        "qwen2.5-0.5b-instruct": Entry(
            "Qwen/Qwen2.5-0.5B-Instruct",
            "7ae557604adf67be50417f59c2c2f167def9a775",
            "generate",
            "Apache-2.0",
            "the smallest chat model worth asking, 0.99 GB",
            {"model.safetensors": "fdf756fa7fcbe7404d5c60e26bff1a0c8b8aa1f72ced49e7dd0210fe288fb7fe"},
        ),
        "qwen2.5-1.5b-instruct": Entry(
            "Qwen/Qwen2.5-1.5B-Instruct",
            "989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
            "generate",
            "Apache-2.0",
            "better answers, 3.1 GB",
            {"model.safetensors": "dd924a11b4c220f385b51ffa522daea7c9f3d850e31b162bb5661df483c6d3ee"},
        ),
        "smollm2-135m-instruct": Entry(
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "12fd25f77366fa6b3b4b768ec3050bf629380bac",
            "generate",
            "Apache-2.0",
            "to try things out, 0.27 GB",
            {"model.safetensors": "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"},
        ),
    }
)
"""Alias -> entry."""


def pinned(ref: Ref, records: Path, *, known: bool = False) -> Ref:
    """What a reference stands for: an alias, or a repository at a revision of the catalogue, becomes a `PinnedRef`.

    Args:
        records: where first digests are kept.
        known: whether the registry has an artifact of the reference's name, which goes before an alias.
    """
    if isinstance(ref, RegistryRef) and ref.version is None and ref.tag is None and not known:
        entry = CATALOG.get(ref.name)
    elif isinstance(ref, HubRef) and ref.split is None:
        entry = next((entry for entry in CATALOG.values() if entry.ref == HubRef(ref.repo, ref.revision)), None)
    else:
        entry = None
    return PinnedRef(entry.repository, entry.revision, records=records) if entry else ref


def prompts_for(repository: str) -> Mapping[str, str]:
    """Prompts that a repository's authors want and its files do not give; of any revision."""
    return next((entry.prompts for entry in CATALOG.values() if entry.repository == repository), {})
