"""GGUF files, read by three others: the gguf package, transformers' own reader, and llama.cpp where it is installed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from llmkit.data.tokenizer import train_tokenizer
from llmkit.errors import DataError, RunError, UnavailableError, UsageError
from llmkit.exporting import gguf as exporting
from llmkit.exporting.gguf import permuted, write_gguf
from llmkit.exporting.gguf_tokens import CONTROL, NORMAL, UNUSED, vocabulary_of
from llmkit.exporting.opening import open_model

gguf = pytest.importorskip("gguf")

TEXTS = (
    "def f(x):\n    return x + 1\n",
    "Hello, world! It's 12345 o'clock — naïve café 日本語 \t\t x",
    "<|im_start|>user\nhi<|im_end|>\n",
    "    for i in range(10):\r\n\r\n   print(i)  ",
    "WE'LL SEE 1 22 333 4444",
)
LLAMA_3 = {
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
}
LINEAR = {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}
KINDS = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": False}),
    ("llama", {"attention_bias": True}),
    ("llama", {"head_dim": 32}),
    ("llama", LLAMA_3),
    ("llama", LINEAR),
    ("mistral", {}),
    ("qwen2", {}),
    ("qwen3", {}),
]


def named(case):
    return (
        f"{case[0]}-{'-'.join(map(str, case[1])) or 'plain'}-{case[1].get('rope_parameters', {}).get('rope_type', '')}"
    )


def tensors(path):
    return {each.name: each for each in gguf.GGUFReader(str(path)).tensors}


def fields(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(str(path)).fields.items()}


def test_the_file_holds_every_weight_with_queries_and_keys_turned(base, tmp_path):
    opened = open_model(base(tie_word_embeddings=False))
    facts = write_gguf(opened, tmp_path / "m.gguf", name="m", kind="f32")
    found, state = tensors(tmp_path / "m.gguf"), opened.model.state_dict()
    assert facts.tensors == len(found) == len(state)
    assert facts.error == 0
    for name, key in (("token_embd", "model.embed_tokens"), ("blk.1.ffn_down", "model.layers.1.mlp.down_proj")):
        assert np.array_equal(found[f"{name}.weight"].data, state[f"{key}.weight"].numpy())
    turned = found["blk.0.attn_k.weight"].data  # two heads of 16
    own = state["model.layers.0.self_attn.k_proj.weight"].numpy()
    for head in range(2):
        for place in range(8):
            assert np.array_equal(turned[head * 16 + 2 * place], own[head * 16 + place])
            assert np.array_equal(turned[head * 16 + 2 * place + 1], own[head * 16 + place + 8])


def test_an_output_layer_that_is_the_embedding_is_stored_once(base, tmp_path):
    opened = open_model(base())
    assert opened.config.tie_word_embeddings
    write_gguf(opened, tmp_path / "m.gguf", name="m", kind="f32")
    assert "output.weight" not in tensors(tmp_path / "m.gguf")


def test_turning_moves_pairs_together_and_nothing_else():
    rows = np.arange(8)[:, None].repeat(3, axis=1)
    assert permuted(rows, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_the_reader_of_transformers_gets_the_same_model(family, base, tmp_path):
    """It takes Qwen3's size of a head from its own default, so that family is left to llama.cpp."""
    opened = open_model(base(family))
    write_gguf(opened, tmp_path / "m.gguf", name="m", kind="f32")
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32).eval()
    ids = torch.arange(24)[None] + 110
    with torch.no_grad():
        assert torch.allclose(read(ids).logits, opened.model(ids).logits, atol=1e-5)


@pytest.mark.parametrize(("kind", "most"), [("f16", 6e-4), ("bf16", 5e-3), ("q8_0", 6e-3)])
def test_smaller_types_round_and_no_more(kind, most, base, tmp_path):
    opened = open_model(base())
    facts = write_gguf(opened, tmp_path / "m.gguf", name="m", kind=kind)
    assert 0 < facts.error < most
    found = tensors(tmp_path / "m.gguf")
    assert found["blk.0.ffn_up.weight"].tensor_type.name.lower() == kind
    assert {each.tensor_type.name for name, each in found.items() if "norm" in name} == {"F32"}


def test_rows_that_no_block_fits_stay_f16(base, tmp_path):
    opened = open_model(base(intermediate_size=80))
    write_gguf(opened, tmp_path / "m.gguf", name="m", kind="q8_0")
    found = tensors(tmp_path / "m.gguf")
    assert found["blk.0.ffn_down.weight"].tensor_type.name == "F16"
    assert found["blk.0.ffn_up.weight"].tensor_type.name == "Q8_0"


def test_the_metadata_are_those_of_the_model(base, tokenizer, tmp_path):
    opened = open_model(base())
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    write_gguf(opened, tmp_path / "m.gguf", name="bot", kind="f32", stops=[turn, tokenizer.eos_token_id])
    found = fields(tmp_path / "m.gguf")
    assert found["general.architecture"] == "llama"
    assert found["general.name"] == "bot"
    assert found["llama.attention.head_count_kv"] == 2
    assert found["llama.context_length"] == 64
    assert found["llama.rope.dimension_count"] == 16
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "dbrx"
    assert found["tokenizer.ggml.eot_token_id"] == turn
    assert found["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.chat_template"] == tokenizer.chat_template
    assert found["tokenizer.ggml.tokens"][tokenizer.eos_token_id] == "<|endoftext|>"
    assert found["tokenizer.ggml.token_type"][turn] == CONTROL
    assert found["tokenizer.ggml.token_type"][-1] == NORMAL


def test_rows_without_a_token_are_named_unused(tokenizer):
    found = vocabulary_of(tokenizer, len(tokenizer) + 3)
    assert len(found.tokens) == len(set(found.tokens)) == len(tokenizer) + 3
    assert list(found.types[-3:]) == [UNUSED] * 3


def test_more_tokens_than_rows_are_refused(tokenizer):
    with pytest.raises(DataError, match=f"model has {len(tokenizer) - 1} embeddings"):
        vocabulary_of(tokenizer, len(tokenizer) - 1)


@pytest.mark.parametrize("algorithm", ["unigram", "wordpiece", "characters"])
def test_tokenizers_that_are_no_bpe_are_refused(algorithm):
    made = train_tokenizer(["some text, some words\n"] * 50, 400, algorithm).tokenizer
    with pytest.raises(DataError, match="GGUF holds BPE"):
        vocabulary_of(made, len(made))


def changed(tokenizer, change):
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    change(spec)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)), eos_token="<|endoftext|>")


def gpt2(spec):
    spec["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def smollm(spec):
    gpt2(spec)
    spec["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, spec["pre_tokenizer"]],
    }


def qwen2(spec):
    cut = spec["pre_tokenizer"]["pretokenizers"][0]
    cut["pattern"]["Regex"] = cut["pattern"]["Regex"].replace("{1,3}", "")
    spec["normalizer"] = {"type": "NFC"}


def llama3(spec):
    spec["model"]["ignore_merges"] = True


KNOWN = {"gpt-2": gpt2, "smollm": smollm, "qwen2": qwen2, "llama-bpe": llama3}


@pytest.mark.parametrize("name", KNOWN)
def test_published_ways_of_cutting_text_go_by_their_names(name, tokenizer):
    assert vocabulary_of(changed(tokenizer, KNOWN[name]), len(tokenizer)).pre == name


def other_pattern(spec):
    spec["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\s+"


def prefix_space(spec):
    gpt2(spec)
    spec["pre_tokenizer"]["add_prefix_space"] = True


def lower_case(spec):
    spec["normalizer"] = {"type": "Lowercase"}


@pytest.mark.parametrize("change", [other_pattern, prefix_space, lower_case])
def test_ways_of_cutting_text_without_a_name_are_refused(change, tokenizer):
    with pytest.raises(DataError, match="has no name"):
        vocabulary_of(changed(tokenizer, change), len(tokenizer))


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_other_architectures_are_refused_with_what_to_do(family, base, tmp_path):
    with pytest.raises(UsageError, match="is not written as GGUF") as caught:
        write_gguf(open_model(base(family)), tmp_path / "m.gguf", name="m")
    assert "--to onnx" in (caught.value.mend or "")
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0}},
    ],
)
def test_settings_that_llama_cpp_does_not_have_are_refused(overrides, base, tmp_path):
    with pytest.raises(UsageError, match=r"llama\.cpp's llama has no"):
        write_gguf(open_model(base(**overrides)), tmp_path / "m.gguf", name="m")


def test_a_file_that_holds_something_else_fails(base, tmp_path, monkeypatch):
    stored = gguf.quants.quantize
    monkeypatch.setattr(gguf.quants, "quantize", lambda values, kind: stored(values * 1.01, kind))
    with pytest.raises(RunError, match="is off by"):
        write_gguf(open_model(base()), tmp_path / "m.gguf", name="m", kind="f32")


def test_without_the_package_it_says_what_to_install(base, tmp_path, monkeypatch):
    monkeypatch.setattr("llmkit.exporting.packages.find_spec", lambda name: None)
    with pytest.raises(UnavailableError) as caught:
        write_gguf(open_model(base()), tmp_path / "m.gguf", name="m")
    assert caught.value.mend == "pip install 'llmkit[export]'"


def test_a_window_that_llama_cpp_ignores_is_told_of(base, tmp_path):
    facts = write_gguf(open_model(base("mistral", sliding_window=16)), tmp_path / "m.gguf", name="m")
    assert "sliding window of 16 tokens" in facts.notes[0]
    assert write_gguf(open_model(base()), tmp_path / "m.gguf", name="m").notes == ()


def sentencepiece():
    """A tokenizer as transformers converts those of Llama 2, Vicuna and Mistral: BPE of characters, bytes in need."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False
    )
    core.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    core.train_from_iterator(["the quick brown fox jumped over the lazy dog and the other one"] * 30, trainer)
    spec = json.loads(core.to_str())
    spec["pre_tokenizer"] = None
    vocab = spec["model"]["vocab"]
    pairs = {}
    for rank, merge in enumerate(spec["model"]["merges"]):
        pairs.setdefault("".join(merge), rank)
    # As the converter does: every pair of tokens whose whole is a token, in the order of the wholes.
    merges = [
        (token[:at], token[at:])
        for token in sorted(pairs, key=pairs.__getitem__)
        for at in range(1, len(token))
        if token[:at] in vocab and token[at:] in vocab
    ]
    spec["model"]["merges"] = merges
    spec["added_tokens"] = [each for each in spec["added_tokens"] if each["content"] in special]
    core = Tokenizer.from_str(json.dumps(spec))
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_sentencepiece_has_scores_and_bytes_instead_of_merges():
    made = sentencepiece()
    found = vocabulary_of(made, len(made))
    assert (found.model, found.pre, list(found.merges)) == ("llama", None, [])
    assert found.space
    by_name = dict(zip(found.tokens, found.scores, strict=True))
    assert by_name["he"] > by_name["the"]
    assert dict(zip(found.tokens, found.types, strict=True))["<0x0A>"] == 6


def test_sentencepiece_that_lacks_a_merge_is_refused():
    made = sentencepiece()

    spec = json.loads(made.backend_tokenizer.to_str())
    merges = spec["model"]["merges"]
    spec["model"]["merges"] = [merge for merge in merges if tuple(merge) != ("t", "he")]
    assert len(spec["model"]["merges"]) == len(merges) - 1
    broken = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)), unk_token="<unk>")
    with pytest.raises(DataError, match="does not merge 't' and 'he'"):
        vocabulary_of(broken, len(broken))


def llama_cpp(path):
    binding = pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python compiles llama.cpp")
    # Keys and values in float32, as transformers keeps them.
    return binding.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)


def logits_in(llama, ids):
    llama.reset()
    llama.eval(ids)
    return np.array(llama.scores[: len(ids)])


@pytest.mark.parametrize("case", KINDS, ids=named)
def test_llama_cpp_computes_the_same_logits(case, base, tmp_path):
    pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python compiles llama.cpp")
    family, overrides = case
    opened = open_model(base(family, **overrides))
    write_gguf(opened, tmp_path / "m.gguf", name="m", kind="f32")
    llama = llama_cpp(tmp_path / "m.gguf")
    ids = list(range(110, 158))
    with torch.no_grad():
        wanted = opened.model(torch.tensor([ids])).logits[0].numpy()
    found = logits_in(llama, ids)
    llama.close()
    # llama.cpp looks its activation up in a table of float16.
    assert np.abs(found - wanted).max() < 2e-3 * np.abs(wanted).max()
    assert (found.argmax(-1) == wanted.argmax(-1)).mean() > 0.95


@pytest.mark.parametrize("name", [*KNOWN, "ours", "sentencepiece"])
def test_llama_cpp_reads_text_as_the_same_tokens(name, base, tokenizer, tmp_path):
    pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python compiles llama.cpp")
    made = {"ours": lambda: tokenizer, "sentencepiece": sentencepiece}.get(
        name, lambda: changed(tokenizer, KNOWN[name])
    )()
    opened = open_model(base(tokenizer=made))
    write_gguf(opened, tmp_path / "m.gguf", name="m", kind="f32")
    llama = llama_cpp(tmp_path / "m.gguf")
    found = [llama.tokenize(text.encode(), add_bos=True, special=True) for text in TEXTS]
    llama.close()
    assert found == [made(text)["input_ids"] for text in TEXTS]


def test_llama_cpp_writes_the_same_text(base, tmp_path):
    pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python compiles llama.cpp")
    opened = open_model(base())
    write_gguf(opened, tmp_path / "m.gguf", name="m", kind="f32")
    ids = opened.tokenizer("def f(x):")["input_ids"]
    wanted = opened.model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False, eos_token_id=-1)[0].tolist()
    llama, found = llama_cpp(tmp_path / "m.gguf"), list(ids)
    for _ in range(16):
        found.append(int(logits_in(llama, found)[-1].argmax()))
    llama.close()
    assert found == wanted


def test_the_architectures_are_those_that_are_compared():
    assert set(exporting._ARCHITECTURES) == {family for family, _ in KINDS}
