"""One contestant of finetune.py in a process of its own: llmkit's loop, or TRL's SFTTrainer."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.data.tokenizer import train_tokenizer
from llmkit.models.adapters import attach
from llmkit.models.build import SpecialIds, new_model
from llmkit.train.evaluation import evaluate
from llmkit.train.examples import SHORTENING, render_pair
from llmkit.train.lengths import fit
from llmkit.train.padding import Padded

VOCABULARY = 8192
HELD_OUT = 128
RATE = 2e-4


def main() -> None:
    """Print trained examples' tokens, seconds without the first step, and the held-out loss, as JSON."""
    given = json.loads(sys.argv[1])
    work = given["work"]
    lines = (Path(given["place"]) / "pairs.jsonl").read_text("utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    tokenizer = train_tokenizer([pair["prompt"] + pair["completion"] for pair in pairs[:4000]], VOCABULARY).tokenizer
    held_out, training = pairs[:HELD_OUT], pairs[HELD_OUT:]
    model = new_model(
        "llama",
        "tiny",
        vocab_size=len(tokenizer),
        ids=SpecialIds.of(tokenizer),
        sequence_length=work["length"],
        seed=0,
        overrides={
            "num_hidden_layers": work["layers"],
            "num_attention_heads": work["heads"],
            "num_key_value_heads": work["heads"],
            "hidden_size": work["width"],
            "intermediate_size": 64 * round(work["width"] * 8 / 3 / 64),
        },
    )
    contestant = {"llmkit": llmkit, "trl": trl}[given["kind"]]
    tuned, tokens, seconds = contestant(model, tokenizer, training, work, given["setting"])
    shown = rendered(held_out, tokenizer, work["length"])
    nll, count = evaluate(tuned, Padded(shown, batch_size=8, seed=0, shuffle=False), batch_size=8)
    print(json.dumps({"tokens": tokens, "seconds": seconds, "loss": nll / count}))


def rendered(pairs: list[dict[str, str]], tokenizer: Any, length: int) -> list[Any]:
    """As `finetune-lora --task text` has them."""
    found = [render_pair(pair["prompt"], pair["completion"], tokenizer) for pair in pairs]
    return fit(found, length, "drop", SHORTENING).examples


def llmkit(
    model: Any, tokenizer: Any, pairs: list[dict[str, str]], work: dict[str, int], setting: dict[str, Any]
) -> tuple[Any, int, float]:
    """(the tuned model, tokens of the examples, seconds) of all steps but the first."""
    from llmkit.train.loop import train
    from llmkit.train.samples import samples_of_step

    examples = rendered(pairs, tokenizer, work["length"])
    adapted = attach(model, "causal", LoraOptions(), seed=0)
    steps, batch = work["steps"], work["batch"]
    options = TrainOptions(
        steps=steps, batch_size=batch, lr=RATE, floor=0.0, beta2=0.999, weight_decay=0.0, eval_every=0
    )
    if setting.get("packing"):
        from llmkit.train.isolation import isolation_for
        from llmkit.train.packing import Packed

        isolation = isolation_for(adapted, tokenizer.eos_token_id, work["length"])
        packed = Packed(examples, length=work["length"], isolation=isolation, seed=0)
        samples: Any = packed
        sizes = [sum(len(examples[number]) for number in row) for row in packed.rows]
    else:
        samples = Padded(examples, batch_size=batch, seed=0)
        sizes = [len(example) for example in examples]
    ends = [time.perf_counter() for record in train(adapted, samples, options) if record.step]
    read = [sample for step in range(1, steps) for sample in samples_of_step(samples, step, batch)]
    return adapted, sum(sizes[sample.number] for sample in read), ends[-1] - ends[0]


def trl(
    model: Any, tokenizer: Any, pairs: list[dict[str, str]], work: dict[str, int], setting: dict[str, Any]
) -> tuple[Any, int, float]:
    """The same by TRL, as its documentation sets it up for prompts and completions."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends: list[float] = []
    counts: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        options = SFTConfig(
            folder,
            max_steps=work["steps"],
            per_device_train_batch_size=work["batch"],
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=work["steps"] // 10,
            weight_decay=0.0,
            max_length=work["length"],
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=0,
            **setting,
        )
        trainer = SFTTrainer(
            model=model,
            args=options,
            train_dataset=Dataset.from_list(pairs),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[Clock()],
        )
        collate = trainer.data_collator

        def counted(rows: list[dict[str, Any]]) -> Any:
            counts.append(sum(len(row["input_ids"]) for row in rows))
            return collate(rows)

        trainer.data_collator = counted
        trainer.train()
    return trainer.model, sum(counts[1 : work["steps"]]), ends[-1] - ends[0]


if __name__ == "__main__":
    main()
