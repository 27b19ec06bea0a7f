"""The figures of `llmkit eval` beside those of lm-evaluation-harness 0.4.13, every digit.

    python benchmarks/eval_parity.py --peer VENV/bin/python [--work DIR]

Two tiny models with random weights are made on the spot, one whose tokenizer adds BOS and one that does not, and four
tasks on local files. Log-likelihoods are sums of float32 numbers, and batches of other shapes round them otherwise: a
perplexity may differ by a relative 1e-6. Everything that is counted must be the same to the last digit. The standard
error of a perplexity is a bootstrap's there and is not compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

ROUNDING = 1e-6
_WORDS = "wrap text the lines width indent self fill space word chunk long break in of a is 日本 語 été"
WORDS = tuple(_WORDS.split())

SUITE = """\
- {id: rolling, kind: perplexity, data: docs.jsonl}
- {id: choices, kind: multiple_choice, data: choices.jsonl}
- {id: cloze, kind: cloze, data: cloze.jsonl}
- id: written
  kind: generation
  data: written.jsonl
  metrics: [exact_match]
  max_tokens: 8
  extract: '[aeiou]'
  ignore_case: true
"""

_DATA = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
"""
PEER = {
    "rolling": """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "choices": """\
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}]
""",
    "cloze": """\
output_type: loglikelihood
doc_to_text: "{{prompt}}"
doc_to_target: "{{' ' + target}}"
target_delimiter: ""
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    "written": """\
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 8, do_sample: false, temperature: 0.0}
filter_list:
  - {name: cut, filter: [{function: regex, regex_pattern: '[aeiou]', group_select: 0}, {function: take_first}]}
metric_list: [{metric: exact_match, ignore_case: true}]
""",
}
OURS_BY_THEIRS = {"perplexity": "target_perplexity"}


def make_models(folder: Path) -> list[Path]:
    """A GPT-2 whose tokenizer adds nothing and a Llama whose tokenizer adds BOS."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

    text = (Path(sysconfig.get_path("stdlib")) / "textwrap.py").read_text("utf-8")
    shared = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    configs: dict[str, Any] = {
        "gpt2": GPT2Config(**shared, n_embd=64, n_layer=2, n_head=2, n_positions=128),
        "llama": LlamaConfig(
            **shared,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
        ),
    }
    made = []
    for name, config in configs.items():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "</s>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator([text], trainer)
        if name == "llama":
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
            )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for weights in model.parameters():
                if weights.dim() > 1:
                    weights.mul_(3)  # as they are made, all that a model says is nearly as likely
        model.save_pretrained(folder / name)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
        ).save_pretrained(folder / name)
        made.append(folder / name)
    return made


def make_data(folder: Path) -> None:
    """Rows of random words; one prompt is longer than the models read."""
    pick = random.Random(0)

    def text(count: int) -> str:
        return " ".join(pick.choice(WORDS) for _ in range(count))

    rows: dict[str, list[dict[str, Any]]] = {"docs": [], "choices": [], "cloze": [], "written": []}
    for number in range(8):
        rows["docs"].append({"text": text(10 + 40 * number)})
    for number in range(60):
        choices: list[str] = []
        while len(choices) < 4:
            choice = text(pick.randint(1, 5))
            choices += [choice] if choice not in choices else []
        question = text(150 if number == 7 else pick.randint(1, 30)) + (" " if number % 5 == 0 else "?")
        rows["choices"].append({"question": question, "choices": choices, "answer": pick.randrange(4)})
        rows["cloze"].append({"prompt": text(12), "target": pick.choice(WORDS)})
    for _ in range(40):
        rows["written"].append({"question": text(8), "answer": pick.choice("aeiou")})
    for name, found in rows.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in found]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def compare(ours: dict[str, dict[str, Any]], theirs: dict[str, Any]) -> int:
    """Print both; how many figures differ by more than rounding."""
    wrong = 0
    for task, found in theirs.items():
        for key, value in found.items():
            name, _, _ = key.partition(",")
            if name.endswith("_stderr") or not isinstance(value, int | float) or name in ("alias", "sample_len"):
                continue
            mine = ours[task][OURS_BY_THEIRS.get(name, name)]
            error = next((v for k, v in found.items() if k.startswith(f"{name}_stderr")), None)
            counted = name.startswith(("acc", "exact"))
            same = mine["value"] == value if counted else abs(mine["value"] - value) <= ROUNDING * abs(value)
            if counted and isinstance(error, float):
                same = same and abs(mine["stderr"] - error) <= 1e-12
            wrong += not same
            mark = "=" if mine["value"] == value else ("~" if same else "DIFFERS")
            print(
                f"  {task:8} {name:16} {mine['value']!r:>22} {value!r:>22} {mark}   stderr {mine['stderr']!r} {error!r}"
            )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python that has lm-eval 0.4.13")
    parser.add_argument("--work", type=Path, help="a folder for models and data; a temporary one else")
    args = parser.parse_args()
    folder = (args.work or Path(tempfile.mkdtemp())).absolute()
    tasks = folder / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    make_data(folder)
    (folder / "suite.yaml").write_text(SUITE, encoding="utf-8")
    for name, body in PEER.items():
        file = folder / {"rolling": "docs.jsonl"}.get(name, f"{name}.jsonl")
        (tasks / f"{name}.yaml").write_text(_DATA.format(name=name, file=file) + body, encoding="utf-8")
    wrong = 0
    here = Path(__file__).parent
    environment = {**os.environ, "LLMKIT_HOME": str(folder / "home")}
    for model in make_models(folder):
        said = subprocess.run(
            [sys.executable, "-m", "llmkit", "eval", "suite.yaml", "--model", str(model), "--json", "--quiet"],
            cwd=folder, env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        ours: dict[str, dict[str, Any]] = {}
        for row in json.loads(said)["results"]:
            ours.setdefault(row["task"], {})[row["metric"]] = row
        peer = subprocess.run(
            [args.peer, str(here / "eval_peer.py"), str(model), str(tasks), "8"],
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if peer.returncode:
            print(peer.stderr[-3000:], file=sys.stderr)
            return 1
        print(f"{model.name}: llmkit, lm-evaluation-harness")
        wrong += compare(ours, json.loads(peer.stdout.splitlines()[-1])["results"])
    print("every figure agrees" if not wrong else f"{wrong} figures differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
