"""What the publishers of each size print: the number of its parameters, and where its shape is on record.

The shapes of `families.py` were compared with `shape`, one by one: the publisher's file, or that of a model derived
from it without change. `printed` names the publisher's page; the figures were read there, in a copy, or where it is
quoted, and those that stand in a size's own name were not looked up again. A printed figure is as exact as its last
digit that is not zero, rounded or cut there: "1.23B" stands for 1.225 to 1.24 billion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Published:
    """The records of one size.

    Attributes:
        figure: its parameters as they are printed.
        printed: where.
        shape: where its dimensions are.
        differs: why its configuration makes another number than is printed; "" where it makes that number.
    """

    figure: str
    printed: str
    shape: str
    differs: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least count that the figure can stand for, and the first that it cannot."""
        match = re.fullmatch(r"([\d,]+)(?:\.(\d+))?([BM]?)", self.figure)
        if match is None:
            raise ValueError(f"'{self.figure}' is no number of parameters")
        whole, decimals, scale = match[1].replace(",", ""), match[2] or "", {"B": 1e9, "M": 1e6, "": 1.0}[match[3]]
        zeros = len(whole) - len(whole.rstrip("0")) if not decimals else -len(decimals)
        value, unit = float(f"{whole}.{decimals or 0}") * scale, 10.0**zeros * scale
        return value - unit / 2, value + unit


_LITGPT = "https://github.com/Lightning-AI/litgpt/blob/26857050fe3ff627cd714fe92f5838f51a3d5efa/litgpt/config.py"
"""Holds the published config.json of each model, with its address."""
_HUB = "https://huggingface.co/"
_ARXIV = "https://arxiv.org/abs/"
_METASEQ = (
    "https://github.com/facebookresearch/metaseq/blob/f2cd36798793604cf51ab8b8a2cb167c964f9667/"
    "metaseq/launcher/opt_job_constants.py"
)
_BIGSCIENCE = "https://github.com/bigscience-workshop/bigscience/tree/master/train/tr11-176B-ml"
_NANOGPT = "https://github.com/karpathy/nanoGPT/blob/master/model.py"
_GPT2 = "https://github.com/openai/gpt-2/blob/master/DEVELOPERS.md"
_BERT = "https://github.com/google-research/bert#pre-trained-models"


def _hub(repository: str) -> str:
    return f"{_HUB}{repository}/blob/main/config.json"


PUBLISHED: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {
        "gpt2": {
            "124m": Published("124M", _GPT2, _NANOGPT),
            "355m": Published("355M", _GPT2, _NANOGPT),
            "774m": Published("774M", _GPT2, _NANOGPT),
            "1.5b": Published("1558M", _NANOGPT, _NANOGPT),
        },
        "llama": {
            "1-7b": Published("6.7B", f"{_ARXIV}2302.13971", f"{_ARXIV}2302.13971"),
            "1-13b": Published("13.0B", f"{_ARXIV}2302.13971", _hub("lmsys/vicuna-13b-v1.3")),
            "1-30b": Published("32.5B", f"{_ARXIV}2302.13971", _hub("lmsys/vicuna-33b-v1.3")),
            "1-65b": Published("65.2B", f"{_ARXIV}2302.13971", _hub("huggyllama/llama-65b")),
            "2-7b": Published("7B", f"{_ARXIV}2307.09288", _LITGPT),
            "2-13b": Published("13B", f"{_ARXIV}2307.09288", _LITGPT),
            "2-70b": Published("70B", f"{_ARXIV}2307.09288", _LITGPT),
        },
        "vicuna": {
            "7b": Published("7B", f"{_HUB}lmsys/vicuna-7b-v1.5", _hub("lmsys/vicuna-7b-v1.5")),
            "13b": Published("13B", f"{_HUB}lmsys/vicuna-13b-v1.5", _hub("FasterDecoding/medusa-1.0-vicuna-13b-v1.5")),
            "33b": Published("33B", f"{_HUB}lmsys/vicuna-33b-v1.3", _hub("lmsys/vicuna-33b-v1.3")),
        },
        "bloom": {
            "560m": Published("559,214,592", f"{_HUB}bigscience/bloom-560m", _BIGSCIENCE),
            "1b1": Published("1.1B", f"{_HUB}bigscience/bloom-1b1", _BIGSCIENCE),
            "1b7": Published("1.7B", f"{_HUB}bigscience/bloom-1b7", _BIGSCIENCE),
            "3b": Published("3,002,557,440", f"{_HUB}bigscience/bloom-3b", _BIGSCIENCE),
            "7b1": Published("7.1B", f"{_HUB}bigscience/bloom-7b1", _BIGSCIENCE),
            "176b": Published("176,247,271,424", f"{_HUB}bigscience/bloom", _BIGSCIENCE),
        },
        "opt": {
            "125m": Published("125M", f"{_ARXIV}2205.01068", _METASEQ),
            "350m": Published(
                "350M",
                f"{_ARXIV}2205.01068",
                _hub("ArthurZ/opt-350m-dummy-sc"),
                "named as GPT-3's size of that shape; its embedding is only half as wide",
            ),
            "1.3b": Published("1.3B", f"{_ARXIV}2205.01068", _METASEQ),
            "2.7b": Published("2.7B", f"{_ARXIV}2205.01068", _METASEQ),
            "6.7b": Published("6.7B", f"{_ARXIV}2205.01068", _METASEQ),
            "13b": Published("13B", f"{_ARXIV}2205.01068", _METASEQ),
            "30b": Published("30B", f"{_ARXIV}2205.01068", _METASEQ),
            "66b": Published("66B", f"{_ARXIV}2205.01068", _METASEQ),
            "175b": Published("175B", f"{_ARXIV}2205.01068", _METASEQ),
        },
        "falcon": {
            "7b": Published("7B", f"{_ARXIV}2311.16867", _LITGPT),
            "40b": Published("40B", f"{_ARXIV}2311.16867", _LITGPT),
            "180b": Published("180B", f"{_ARXIV}2311.16867", _LITGPT),
        },
        "xgen": {"7b": Published("7B", f"{_ARXIV}2309.03450", _hub("Salesforce/xgen-7b-8k-base"))},
        "mistral": {
            "7b": Published("7B", f"{_ARXIV}2310.06825", _hub("Open-Orca/Mistral-7B-OpenOrca")),
            "nemo-12b": Published("12B", "https://mistral.ai/news/mistral-nemo", _hub("yuyouyu/Mistral-Nemo-BD-RP")),
            "large-123b": Published("123B", "https://mistral.ai/news/mistral-large-2407", _LITGPT),
        },
        "codegen": {
            "350m": Published("350M", f"{_ARXIV}2203.13474", _hub("chincyk/PyCodeGen")),
            "2b": Published("2.7B", f"{_ARXIV}2203.13474", _hub("Salesforce/codegen-2B-multi")),
            "6b": Published(
                "6.1B",
                f"{_ARXIV}2203.13474",
                _hub("CarperAI/diff-codegen-6b-v2"),
                "the published configuration has 33 blocks, and its weights are of that size",
            ),
            "16b": Published(
                "16.1B",
                f"{_ARXIV}2203.13474",
                _hub("Salesforce/codegen-16B-nl"),
                "0.4% more than the published configuration makes",
            ),
        },
        "qwen2": {
            "0.5b": Published("0.49B", f"{_HUB}Qwen/Qwen2.5-0.5B", _LITGPT),
            "1.5b": Published("1.54B", f"{_HUB}Qwen/Qwen2.5-1.5B", _LITGPT),
            "3b": Published("3.09B", f"{_HUB}Qwen/Qwen2.5-3B", _LITGPT),
            "7b": Published("7.61B", f"{_HUB}Qwen/Qwen2.5-7B", _LITGPT),
            "14b": Published("14.7B", f"{_HUB}Qwen/Qwen2.5-14B", _LITGPT),
            "32b": Published(
                "32.5B",
                f"{_HUB}Qwen/Qwen2.5-32B",
                _LITGPT,
                "the published weights are of 32,763,876,352",
            ),
            "72b": Published("72.7B", f"{_HUB}Qwen/Qwen2.5-72B", _LITGPT),
        },
        "qwen3": {
            "0.6b": Published("0.6B", f"{_HUB}Qwen/Qwen3-0.6B", _LITGPT),
            "1.7b": Published("1.7B", f"{_HUB}Qwen/Qwen3-1.7B", _LITGPT),
            "4b": Published("4.0B", f"{_HUB}Qwen/Qwen3-4B", _LITGPT),
            "8b": Published("8.2B", f"{_HUB}Qwen/Qwen3-8B", _LITGPT),
            "14b": Published("14.8B", f"{_HUB}Qwen/Qwen3-14B", _LITGPT),
            "32b": Published("32.8B", f"{_HUB}Qwen/Qwen3-32B", _LITGPT),
        },
        "llama3": {
            "8b": Published("8B", f"{_ARXIV}2407.21783", _LITGPT),
            "70b": Published("70B", f"{_ARXIV}2407.21783", _LITGPT),
            "3.1-8b": Published("8B", f"{_ARXIV}2407.21783", _LITGPT),
            "3.1-70b": Published("70B", f"{_ARXIV}2407.21783", _LITGPT),
            "3.1-405b": Published("405B", f"{_ARXIV}2407.21783", _LITGPT),
            "3.2-1b": Published("1.23B", f"{_HUB}meta-llama/Llama-3.2-1B", _LITGPT),
            "3.2-3b": Published("3.21B", f"{_HUB}meta-llama/Llama-3.2-3B", _LITGPT),
        },
        "smollm": {
            "135m": Published("135M", f"{_HUB}HuggingFaceTB/SmolLM2-135M", _LITGPT),
            "360m": Published("360M", f"{_HUB}HuggingFaceTB/SmolLM2-360M", _LITGPT),
            "1.7b": Published("1.7B", f"{_HUB}HuggingFaceTB/SmolLM2-1.7B", _LITGPT),
        },
        # The paper counts a vocabulary of 256,128; the published files have its first 256,000.
        "gemma": {
            "2b": Published("2.5B", f"{_ARXIV}2403.08295", _LITGPT),
            "7b": Published("8.5B", f"{_ARXIV}2403.08295", _LITGPT),
        },
        "bert": {
            "base": Published("110M", _BERT, _BERT),
            "large": Published("340M", _BERT, _BERT),
        },
        "modernbert": {
            "base": Published("149M", f"{_ARXIV}2412.13663", f"{_ARXIV}2412.13663"),
            "large": Published("395M", f"{_ARXIV}2412.13663", f"{_ARXIV}2412.13663"),
        },
        "t5": {
            "small": Published("60M", f"{_ARXIV}1910.10683", _hub("google-t5/t5-small")),
            "base": Published("220M", f"{_ARXIV}1910.10683", _hub("google-t5/t5-base")),
            "large": Published(
                "770M",
                f"{_ARXIV}1910.10683",
                _hub("google-t5/t5-large"),
                "counts the shared embedding of 32,899,072 twice",
            ),
            "3b": Published("2.8B", f"{_ARXIV}1910.10683", _hub("Rostlab/ProstT5_fp16")),
            "11b": Published("11B", f"{_ARXIV}1910.10683", _hub("google/t5-11b-ssm-tqao")),
        },
    }
)
"""Family -> size -> records, for every size that is not our own."""
