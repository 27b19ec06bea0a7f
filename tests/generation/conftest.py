"""Tiny models with random weights, and a tokenizer trained on the standard library."""

import sysconfig
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from llmkit.generation.local import LocalModel

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[MASK]", "<pad>"]
VOCABULARY = 400


@pytest.fixture(scope="session")
def backend() -> Tokenizer:
    text = (Path(sysconfig.get_path("stdlib")) / "textwrap.py").read_text("utf-8")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


@pytest.fixture
def tokenizer(backend) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend.to_str()),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<pad>",
        mask_token="[MASK]",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=CHATML,
    )


SHARED = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 4}
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}
CONFIGS = {
    "gpt2": GPT2Config(**SHARED, n_embd=32, n_layer=2, n_head=2, n_positions=64),
    "llama": LlamaConfig(**SHARED, **LLAMA),
    "bloom": BloomConfig(**SHARED, hidden_size=32, n_layer=2, n_head=2),
    "opt": OPTConfig(
        **SHARED,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=64,
        max_position_embeddings=96,
        word_embed_proj_dim=32,
    ),
}
T5 = T5Config(
    vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, eos_token_id=0, pad_token_id=4,
    decoder_start_token_id=4,
)  # fmt: skip
BERT = BertConfig(
    vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=64, pad_token_id=4,
)  # fmt: skip


@pytest.fixture(params=sorted(CONFIGS))
def causal(request, tokenizer) -> LocalModel:
    return _local(AutoModelForCausalLM, CONFIGS[request.param], tokenizer, "causal")


@pytest.fixture
def gpt2(tokenizer) -> LocalModel:
    return _local(AutoModelForCausalLM, CONFIGS["gpt2"], tokenizer, "causal")


@pytest.fixture
def t5(tokenizer) -> LocalModel:
    return _local(AutoModelForSeq2SeqLM, T5, tokenizer, "seq2seq")


@pytest.fixture
def bert(tokenizer) -> LocalModel:
    return _local(AutoModelForMaskedLM, BERT, tokenizer, "masked")


def _local(auto, config, tokenizer, objective) -> LocalModel:
    torch.manual_seed(0)
    model = auto.from_config(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(4)  # as they are made, models are so unsure that every test of sameness passes
    return LocalModel(model, tokenizer, objective)
