"""The table of model families: one frozen row each, readable without torch or transformers.

A family is an architecture that transformers implements (`model_type`) together with what llmkit must know to train it
from scratch, tune it and talk to it. `tiny` sizes are our own; every other size is a published model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from llmkit.errors import UsageError, closest
from llmkit.models import shapes
from llmkit.models.shapes import EPS, TIED, Shape, Size, hub, tiny

Objective = Literal["causal", "masked", "seq2seq"]
ChatFormat = Literal["none", "chatml", "llama2", "llama3", "vicuna", "gemma"]


@dataclass(frozen=True)
class Family:
    """One architecture and how llmkit treats it.

    Attributes:
        model_type: the transformers configuration it is built from.
        lora_targets: last name components of the linear layers inside the blocks, all of them (QLoRA, arXiv:2305.14314,
            section 4: adapters on every linear layer are what matches full fine-tuning).
        licence: of the published weights; weights made here are their maker's.
        source: paper that describes the family.
        chat: format of the family's own chat models (`llmkit.models.templates`); "none" for base models only.
        shared: configuration that every size has and that is not the transformers class's own default.
    """

    name: str
    objective: Objective
    model_type: str
    sizes: Mapping[str, Size]
    lora_targets: tuple[str, ...]
    licence: str
    source: str
    chat: ChatFormat = "none"
    shared: Shape = field(default_factory=dict)


_LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_BLOOM = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")

# Grouped attention in `tiny` too; an MLP of 8/3 the width as in LLaMA (arXiv:2302.13971), rounded to 64; embeddings
# tied, because half of so small a model would be vocabulary otherwise.
_TINY_LLAMA = tiny(shapes.llama(192, 4, 4, 2, 512, tie_word_embeddings=True))


def _llama_1(shape: Shape, parameters: int, eps: float = 1e-6) -> Size:
    return Size({**shape, "rms_norm_eps": eps}, 32000, 2048, parameters, "https://arxiv.org/abs/2302.13971")


_ROWS = (
    Family(
        name="gpt2",
        objective="causal",
        model_type="gpt2",
        sizes={
            # Dropout 0 is nanoGPT's choice for pretraining, and what lets attention use its fast kernels. So is the
            # exact GELU; torch's kernel for it is six times as fast on a CPU as that for GPT-2's approximation.
            "tiny": tiny(
                shapes.gpt2(192, 4, 4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, activation_function="gelu")
            ),
            "124m": hub("openai-community/gpt2", shapes.gpt2(768, 12, 12), 50257, 1024, 124_439_808),
            "355m": hub("openai-community/gpt2-medium", shapes.gpt2(1024, 24, 16), 50257, 1024, 354_823_168),
            "774m": hub("openai-community/gpt2-large", shapes.gpt2(1280, 36, 20), 50257, 1024, 774_030_080),
            "1.5b": hub("openai-community/gpt2-xl", shapes.gpt2(1600, 48, 25), 50257, 1024, 1_557_611_200),
        },
        lora_targets=("c_attn", "c_proj", "c_fc"),
        licence="MIT",
        source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    ),
    Family(
        name="llama",
        objective="causal",
        model_type="llama",
        sizes={
            "tiny": _TINY_LLAMA,
            # Never published on the Hub by their makers: arXiv:2302.13971, table 2.
            "1-7b": _llama_1(shapes.LLAMA_7B, 6_738_415_616),
            "1-13b": _llama_1(shapes.LLAMA_13B, 13_015_864_320),
            "1-30b": _llama_1(shapes.LLAMA_30B, 32_528_943_616),
            "1-65b": _llama_1(shapes.llama(8192, 80, 64, 64, 22016), 65_285_660_672, eps=1e-5),
            "2-7b": hub("meta-llama/Llama-2-7b-hf", shapes.LLAMA_7B, 32000, 4096, 6_738_415_616),
            "2-13b": hub("meta-llama/Llama-2-13b-hf", shapes.LLAMA_13B, 32000, 4096, 13_015_864_320),
            "2-70b": hub(
                "meta-llama/Llama-2-70b-hf", shapes.llama(8192, 80, 64, 8, 28672), 32000, 4096, 68_976_648_192
            ),
        },
        lora_targets=_LLAMA,
        licence="Llama 2 Community License",
        source="arXiv:2307.09288",
        chat="llama2",
        shared={"rms_norm_eps": 1e-5},
    ),
    Family(
        name="vicuna",
        objective="causal",
        model_type="llama",
        sizes={
            "tiny": _TINY_LLAMA,
            "7b": hub("lmsys/vicuna-7b-v1.5", shapes.LLAMA_7B, 32000, 4096, 6_738_415_616),
            "13b": hub("lmsys/vicuna-13b-v1.5", shapes.LLAMA_13B, 32000, 4096, 13_015_864_320),
            "33b": hub(
                "lmsys/vicuna-33b-v1.3", {**shapes.LLAMA_30B, "rms_norm_eps": 1e-6}, 32000, 2048, 32_528_943_616
            ),
        },
        lora_targets=_LLAMA,
        licence="Llama 2 Community License",
        source="arXiv:2306.05685",
        chat="vicuna",
        shared={"rms_norm_eps": 1e-5},
    ),
    Family(
        name="bloom",
        objective="causal",
        model_type="bloom",
        sizes={
            "tiny": tiny(shapes.bloom(192, 4, 4)),
            "560m": hub("bigscience/bloom-560m", shapes.bloom(1024, 24, 16), 250880, 2048, 559_214_592),
            "1b1": hub("bigscience/bloom-1b1", shapes.bloom(1536, 24, 16), 250880, 2048, 1_065_314_304),
            "1b7": hub("bigscience/bloom-1b7", shapes.bloom(2048, 24, 16), 250880, 2048, 1_722_408_960),
            "3b": hub("bigscience/bloom-3b", shapes.bloom(2560, 30, 32), 250880, 2048, 3_002_557_440),
            "7b1": hub("bigscience/bloom-7b1", shapes.bloom(4096, 30, 32), 250880, 2048, 7_069_016_064),
            "176b": hub("bigscience/bloom", shapes.bloom(14336, 70, 112), 250880, 2048, 176_247_271_424),
        },
        lora_targets=_BLOOM,
        licence="BigScience RAIL 1.0",
        source="arXiv:2211.05100",
    ),
    Family(
        name="opt",
        objective="causal",
        model_type="opt",
        sizes={
            "tiny": tiny(shapes.opt(192, 4, 4, dropout=0.0)),
            "125m": hub("facebook/opt-125m", shapes.opt(768, 12, 12), 50272, 2048, 125_239_296),
            "350m": hub(
                "facebook/opt-350m",
                shapes.opt(1024, 24, 16, word_embed_proj_dim=512, do_layer_norm_before=False),
                50272,
                2048,
                331_196_416,
            ),
            "1.3b": hub("facebook/opt-1.3b", shapes.opt(2048, 24, 32), 50272, 2048, 1_315_758_080),
            "2.7b": hub("facebook/opt-2.7b", shapes.opt(2560, 32, 32), 50272, 2048, 2_651_596_800),
            "6.7b": hub("facebook/opt-6.7b", shapes.opt(4096, 32, 32), 50272, 2048, 6_658_473_984),
            "13b": hub("facebook/opt-13b", shapes.opt(5120, 40, 40), 50272, 2048, 12_853_473_280),
            "30b": hub("facebook/opt-30b", shapes.opt(7168, 48, 56), 50272, 2048, 29_974_540_288),
            "66b": hub("facebook/opt-66b", shapes.opt(9216, 64, 72), 50272, 2048, 65_719_701_504),
            # No public repository: weights by request only. Table 1 of the paper gives the shape.
            "175b": Size(shapes.opt(12288, 96, 96), 50272, 2048, 174_604_468_224, "https://arxiv.org/abs/2205.01068"),
        },
        lora_targets=("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        licence="OPT License (non-commercial)",
        source="arXiv:2205.01068",
    ),
    Family(
        name="falcon",
        objective="causal",
        model_type="falcon",
        sizes={
            "tiny": tiny(shapes.falcon(192, 4, 4)),
            # The published files have the output layer twice, which is the embedding.
            "7b": hub("tiiuae/falcon-7b", shapes.falcon(4544, 32, 71), 65024, 2048, 6_921_720_704),
            "40b": hub("tiiuae/falcon-40b", shapes.falcon(8192, 60, 128, 8), 65024, 2048, 41_303_293_952),
            "180b": hub("tiiuae/falcon-180B", shapes.falcon(14848, 80, 232, 8), 65024, 2048, 178_557_088_768),
        },
        lora_targets=_BLOOM,
        licence="Apache-2.0 (7b, 40b); Falcon-180B TII License (180b)",
        source="arXiv:2311.16867",
    ),
    Family(
        name="xgen",
        objective="causal",
        model_type="llama",
        sizes={
            "tiny": _TINY_LLAMA,
            "7b": hub("Salesforce/xgen-7b-8k-base", shapes.LLAMA_7B, 51200, 8192, 6_895_702_016),
        },
        lora_targets=_LLAMA,
        licence="Apache-2.0",
        source="arXiv:2309.03450",
    ),
    Family(
        name="mistral",
        objective="causal",
        model_type="mistral",
        sizes={
            "tiny": _TINY_LLAMA,
            "7b": hub("mistralai/Mistral-7B-v0.1", shapes.llama(4096, 32, 32, 8, 14336), 32000, 32768, 7_241_732_096),
            "nemo-12b": hub("mistralai/Mistral-Nemo-Base-2407", shapes.NEMO, 131072, 131072, 12_247_782_400),
            "large-123b": hub("mistralai/Mistral-Large-Instruct-2407", shapes.LARGE, 32768, 131072, 122_610_069_504),
        },
        lora_targets=_LLAMA,
        licence="Apache-2.0 (large-123b: Mistral Research License)",
        source="arXiv:2310.06825",
        chat="llama2",
        shared={"rms_norm_eps": 1e-5},
    ),
    Family(
        name="codegen",
        objective="causal",
        model_type="codegen",
        sizes={
            "tiny": tiny(shapes.codegen(192, 4, 4, 32)),
            "350m": hub("Salesforce/codegen-350M-mono", shapes.codegen(1024, 20, 16, 32), 51200, 2048, 356_712_448),
            "2b": hub("Salesforce/codegen-2B-mono", shapes.codegen(2560, 32, 32, 64), 51200, 2048, 2_779_356_160),
            # The paper says 6.1B; its published configuration makes this many, and its weights are of that size.
            "6b": hub("Salesforce/codegen-6B-mono", shapes.codegen(4096, 33, 16, 64), 51200, 2048, 7_064_213_504),
            "16b": hub("Salesforce/codegen-16B-mono", shapes.codegen(6144, 34, 24, 64), 51200, 2048, 16_032_155_648),
        },
        lora_targets=("qkv_proj", "out_proj", "fc_in", "fc_out"),
        licence="BSD-3-Clause",
        source="arXiv:2203.13474",
    ),
    Family(
        name="qwen2",
        objective="causal",
        model_type="qwen2",
        sizes={
            "tiny": _TINY_LLAMA,
            "0.5b": hub("Qwen/Qwen2.5-0.5B", shapes.llama(896, 24, 14, 2, 4864, **TIED), 151936, 32768, 494_032_768),
            "1.5b": hub(
                "Qwen/Qwen2.5-1.5B", shapes.llama(1536, 28, 12, 2, 8960, **TIED), 151936, 131072, 1_543_714_304
            ),
            "3b": hub("Qwen/Qwen2.5-3B", shapes.llama(2048, 36, 16, 2, 11008, **TIED), 151936, 32768, 3_085_938_688),
            "7b": hub("Qwen/Qwen2.5-7B", shapes.llama(3584, 28, 28, 4, 18944), 152064, 131072, 7_615_616_512),
            "14b": hub("Qwen/Qwen2.5-14B", shapes.llama(5120, 48, 40, 8, 13824, **EPS), 152064, 131072, 14_770_033_664),
            "32b": hub("Qwen/Qwen2.5-32B", shapes.llama(5120, 64, 40, 8, 27648, **EPS), 152064, 131072, 32_763_876_352),
            "72b": hub("Qwen/Qwen2.5-72B", shapes.llama(8192, 80, 64, 8, 29568, **EPS), 152064, 131072, 72_706_203_648),
        },
        lora_targets=_LLAMA,
        licence="Apache-2.0 (3b: Qwen Research; 72b: Qwen License)",
        source="arXiv:2412.15115",
        chat="chatml",
        shared=shapes.rope(1e6),
    ),
    Family(
        name="qwen3",
        objective="causal",
        model_type="qwen3",
        sizes={
            "tiny": tiny(shapes.llama(192, 4, 4, 2, 512, head_dim=48, **TIED)),
            "0.6b": hub("Qwen/Qwen3-0.6B", shapes.llama(1024, 28, 16, 8, 3072, **TIED), 151936, 40960, 596_049_920),
            "1.7b": hub("Qwen/Qwen3-1.7B", shapes.llama(2048, 28, 16, 8, 6144, **TIED), 151936, 40960, 1_720_574_976),
            "4b": hub("Qwen/Qwen3-4B", shapes.llama(2560, 36, 32, 8, 9728, **TIED), 151936, 40960, 4_022_468_096),
            "8b": hub("Qwen/Qwen3-8B", shapes.llama(4096, 36, 32, 8, 12288), 151936, 40960, 8_190_735_360),
            "14b": hub("Qwen/Qwen3-14B", shapes.llama(5120, 40, 40, 8, 17408), 151936, 40960, 14_768_307_200),
            "32b": hub("Qwen/Qwen3-32B", shapes.llama(5120, 64, 64, 8, 25600), 151936, 40960, 32_762_123_264),
        },
        lora_targets=_LLAMA,
        licence="Apache-2.0",
        source="arXiv:2505.09388",
        chat="chatml",
        shared=shapes.rope(1e6),
    ),
    Family(
        name="llama3",
        objective="causal",
        model_type="llama",
        sizes={
            "tiny": _TINY_LLAMA,
            "8b": hub("meta-llama/Meta-Llama-3-8B", shapes.LLAMA_3_8B, 128256, 8192, 8_030_261_248),
            "70b": hub("meta-llama/Meta-Llama-3-70B", shapes.LLAMA_3_70B, 128256, 8192, 70_553_706_496),
            "3.1-8b": hub(
                "meta-llama/Llama-3.1-8B", shapes.LLAMA_3_8B | shapes.LLAMA_3_1, 128256, 131072, 8_030_261_248
            ),
            "3.1-70b": hub(
                "meta-llama/Llama-3.1-70B", shapes.LLAMA_3_70B | shapes.LLAMA_3_1, 128256, 131072, 70_553_706_496
            ),
            "3.1-405b": hub(
                "meta-llama/Llama-3.1-405B", shapes.LLAMA_405B | shapes.LLAMA_3_1, 128256, 131072, 405_853_388_800
            ),
            "3.2-1b": hub("meta-llama/Llama-3.2-1B", shapes.LLAMA_1B | shapes.LLAMA_3_2, 128256, 131072, 1_235_814_400),
            "3.2-3b": hub("meta-llama/Llama-3.2-3B", shapes.LLAMA_3B | shapes.LLAMA_3_2, 128256, 131072, 3_212_749_824),
        },
        lora_targets=_LLAMA,
        licence="Meta Llama 3 Community License",
        source="arXiv:2407.21783",
        chat="llama3",
        shared={"rms_norm_eps": 1e-5, **shapes.rope(5e5)},
    ),
    Family(
        name="smollm",
        objective="causal",
        model_type="llama",
        sizes={
            "tiny": _TINY_LLAMA,
            "135m": hub("HuggingFaceTB/SmolLM2-135M", shapes.llama(576, 30, 9, 3, 1536), 49152, 8192, 134_515_008),
            "360m": hub("HuggingFaceTB/SmolLM2-360M", shapes.llama(960, 32, 15, 5, 2560), 49152, 8192, 361_821_120),
            "1.7b": hub(
                "HuggingFaceTB/SmolLM2-1.7B",
                shapes.llama(2048, 24, 32, 32, 8192, **shapes.rope(1.3e5)),
                49152,
                8192,
                1_711_376_384,
            ),
        },
        lora_targets=_LLAMA,
        licence="Apache-2.0",
        source="arXiv:2502.02737",
        chat="chatml",
        shared={"rms_norm_eps": 1e-5, **TIED, **shapes.rope(1e5)},
    ),
    Family(
        name="gemma",
        objective="causal",
        model_type="gemma",
        sizes={
            "tiny": tiny(shapes.llama(192, 4, 4, 1, 512, head_dim=48)),
            "2b": hub("google/gemma-2b", shapes.llama(2048, 18, 8, 1, 16384), 256000, 8192, 2_506_172_416),
            "7b": hub("google/gemma-7b", shapes.llama(3072, 28, 16, 16, 24576), 256000, 8192, 8_537_680_896),
        },
        lora_targets=_LLAMA,
        licence="Gemma Terms of Use",
        source="arXiv:2403.08295",
        chat="gemma",
    ),
    Family(
        name="bert",
        objective="masked",
        model_type="bert",
        sizes={
            "tiny": tiny(shapes.encoder(192, 4, 4, 768, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)),
            # The published files have 592,130 and 1,051,650 more: a pooler and next-sentence prediction.
            "base": hub("google-bert/bert-base-uncased", shapes.encoder(768, 12, 12, 3072), 30522, 512, 109_514_298),
            "large": hub("google-bert/bert-large-uncased", shapes.encoder(1024, 24, 16, 4096), 30522, 512, 335_174_458),
        },
        lora_targets=("query", "key", "value", "dense"),
        licence="Apache-2.0",
        source="arXiv:1810.04805",
    ),
    Family(
        name="modernbert",
        objective="masked",
        model_type="modernbert",
        sizes={
            "tiny": tiny(shapes.encoder(192, 4, 4, 320)),
            "base": hub("answerdotai/ModernBERT-base", shapes.encoder(768, 22, 12, 1152), 50368, 8192, 149_655_232),
            "large": hub("answerdotai/ModernBERT-large", shapes.encoder(1024, 28, 16, 2624), 50368, 8192, 395_881_664),
        },
        lora_targets=("Wqkv", "Wo", "Wi", "dense"),
        licence="Apache-2.0",
        source="arXiv:2412.13663",
    ),
    Family(
        name="t5",
        objective="seq2seq",
        model_type="t5",
        sizes={
            "tiny": tiny(shapes.t5(192, 2, 4, 48, 768, dropout_rate=0.0)),
            "small": hub("google-t5/t5-small", shapes.t5(512, 6, 8, 64, 2048), 32128, 512, 60_506_624),
            "base": hub("google-t5/t5-base", shapes.t5(768, 12, 12, 64, 3072), 32128, 512, 222_903_552),
            "large": hub("google-t5/t5-large", shapes.t5(1024, 24, 16, 64, 4096), 32128, 512, 737_668_096),
            "3b": hub("google-t5/t5-3b", shapes.t5(1024, 24, 32, 128, 16384), 32128, 512, 2_851_598_336),
            "11b": hub("google-t5/t5-11b", shapes.t5(1024, 24, 128, 128, 65536), 32128, 512, 11_307_321_344),
        },
        lora_targets=("q", "k", "v", "o", "wi", "wo"),
        licence="Apache-2.0",
        source="arXiv:1910.10683",
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({row.name: row for row in _ROWS})
"""Family name -> row, in the order in which they are shown."""


def family(name: str) -> Family:
    """The row of that name. Raises UsageError, with the nearest names, where there is none."""
    if name in FAMILIES:
        return FAMILIES[name]
    raise UsageError(f"no model family '{name}'{closest(name, FAMILIES)}", mend="families: " + ", ".join(FAMILIES))


def size_of(row: Family, size: str) -> Size:
    """A named size of a family. Raises UsageError, with the nearest names, where there is none."""
    if size in row.sizes:
        return row.sizes[size]
    raise UsageError(
        f"family '{row.name}' has no size '{size}'{closest(size, row.sizes)}",
        mend=f"sizes of {row.name}: " + ", ".join(row.sizes),
    )


def family_of_type(model_type: str) -> Family | None:
    """The first row of a transformers `model_type`, for models that were loaded and not built here."""
    return next((row for row in FAMILIES.values() if row.model_type == model_type), None)
