"""Bad input: the documented exit code, one clear message with the mend, no stack trace, nothing lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TEXT = "The quick brown fox jumps over the lazy dog while the rain keeps falling on the town.\n"


def refused(ran: Any, code: int, *words: str) -> None:
    assert ran.code == code, ran.err + ran.out
    assert "Traceback" not in ran.err + ran.out
    assert "error:" in ran.err
    for word in words:
        assert word in ran.err, ran.err


def test_an_unknown_flag_exits_2(cli: Any) -> None:
    refused(cli("pretrain", "--no-such-flag"), 2, "--no-such-flag")


def test_an_unknown_command_exits_2_and_names_the_closest(cli: Any) -> None:
    refused(cli("pretrian"), 2, "pretrian")


def test_a_missing_required_option_is_named(cli: Any) -> None:
    refused(cli("pretrain"), 2, "--data", "is required")


def test_an_unknown_recipe_key_is_named_with_its_closest_and_its_line(cli: Any) -> None:
    (cli.folder / "r.yaml").write_text("pretrain:\n  stepz: 3\n  data: x\n")
    refused(cli("pretrain", "--recipe", "r.yaml"), 2, "r.yaml:2", "stepz", "did you mean 'steps'")


def test_all_stages_of_a_recipe_are_checked_before_the_first_runs(cli: Any) -> None:
    text = "stages:\n  - preprocess: {inputs: [docs]}\n  - pretrain: {data: docs, batch_siz: 3}\n"
    (cli.folder / "r.yaml").write_text(text)
    refused(cli("run", "r.yaml"), 2, "batch_siz", "batch_size")
    assert not cli.home.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "hello", "--index", "nowhere"),
        ("pretrain", "--data", "nowhere"),
        ("preprocess", "nowhere"),
        ("registry", "show", "nowhere"),
        ("run", "nowhere.yaml"),
        ("eval", "nowhere.yaml"),
    ],
)
def test_what_is_not_there_exits_3(cli: Any, words: tuple[str, ...]) -> None:
    refused(cli(*words), 3, "nowhere")


def test_a_miss_names_the_closest_artifact(cli: Any) -> None:
    (cli.folder / "a.txt").write_text(TEXT * 30)
    cli.ok("preprocess", "a.txt", "--name", "corpus", "--tokenizer", "none")
    refused(cli("registry", "show", "corpsu"), 3, "did you mean 'corpus'")


def test_an_empty_folder_exits_4(cli: Any) -> None:
    (cli.folder / "empty").mkdir()
    refused(cli("preprocess", "empty", "--name", "c"), 4, "empty")
    refused(cli("index", "empty", "--name", "c"), 4, "empty")


def test_random_bytes_named_txt_are_dropped_with_their_reason(cli: Any) -> None:
    (cli.folder / "blob.txt").write_bytes(random.Random(0).randbytes(200_000))
    refused(cli("preprocess", "blob.txt", "--name", "c"), 4, "binary")
    (cli.folder / "good.txt").write_text(TEXT * 30)
    result = cli.ok("preprocess", "blob.txt", "good.txt", "--name", "c", "--tokenizer", "none")
    assert result["report"]["drops"]["read"] == {"binary": 1}


def test_text_in_another_encoding_is_read_as_what_it_is(cli: Any) -> None:
    (cli.folder / "sjis.txt").write_bytes(("吾輩は猫である。名前はまだ無い。" * 20).encode("shift_jis"))
    result = cli.ok("preprocess", "sjis.txt", "--name", "c", "--tokenizer", "none")
    import pyarrow.parquet as parquet

    rows = parquet.read_table(Path(result["artifact"]["path"]) / "documents.parquet").to_pylist()
    assert rows[0]["text"].startswith("吾輩は猫である。")


def test_a_single_line_of_fifty_megabytes_is_read(cli: Any) -> None:
    (cli.folder / "long.txt").write_text("word " * 10_000_000)
    result = cli.ok("preprocess", "long.txt", "--name", "c", "--tokenizer", "none")
    assert result["report"]["splits"]["train"]["characters"] >= 49_999_999


def test_wrong_schema_exits_4_and_names_the_fix(chain: Any) -> None:
    refused(chain("pretrain", "--data", "pairs", "--name", "x"), 4, "texts are needed")


def test_wrong_kind_exits_2_and_names_what_is_needed(chain: Any) -> None:
    refused(chain("pretrain", "--data", "base", "--name", "x"), 2, "is a model")


def test_a_device_that_is_not_there_exits_5(chain: Any) -> None:
    refused(chain("pretrain", "--data", "corpus", "--name", "x", "--device", "cuda:7"), 5, "cuda:7")


def test_a_truncated_safetensors_file_is_named(chain: Any) -> None:
    copied = chain.ok("pretrain", "--data", "corpus", "--name", "hurt", "--steps", 1, "--sequence-length", 64)
    weights = next(Path(copied["artifact"]["path"]).glob("*.safetensors"))
    os.truncate(weights, weights.stat().st_size // 2)
    refused(chain("finetune-lora", "--model", "hurt", "--data", "pairs", "--steps", 1), 4, "model.safetensors")
    verified = chain("registry", "verify", "hurt")
    refused(verified, 4, "model.safetensors")
    chain.ok("registry", "verify", "base")


def test_damaged_tokens_are_named(chain: Any) -> None:
    shards = list((chain.home / "cache" / "tokens").rglob("train.bin"))
    saved = shards[0].read_bytes()
    shards[0].write_bytes(saved[: len(saved) // 2])
    try:
        refused(chain("pretrain", "--data", "corpus", "--name", "x", "--steps", 1), 4, "train.bin")
    finally:
        shards[0].write_bytes(saved)


def test_too_little_text_for_one_sample_says_so(cli: Any) -> None:
    (cli.folder / "a.txt").write_text(TEXT)
    cli.ok("preprocess", "a.txt", "--name", "c", "--vocab-size", 400)
    refused(cli("pretrain", "--data", "c", "--sequence-length", 512), 4, "too few")


def test_a_sequence_past_the_context_exits_2(chain: Any) -> None:
    refused(
        chain("pretrain", "--data", "corpus", "--name", "x", "--size", "124m", "--sequence-length", 4096), 2, "context"
    )


def test_a_bad_row_of_fine_tuning_data_is_named_by_file_and_line(chain: Any) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": ""}]
    (chain.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    refused(chain("finetune-lora", "--model", "base", "--data", "rows.jsonl"), 4, "rows.jsonl:2")


def test_a_limit_past_the_models_context_is_refused_before_training(chain: Any) -> None:
    refused(
        chain("finetune-lora", "--model", "base", "--data", "pairs", "--sequence-length", 4096), 2, "context of 128"
    )


def test_a_missing_file_of_examples_is_said_to_be_missing(chain: Any) -> None:
    (chain.folder / "good.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    refused(chain("finetune-lora", "--model", "base", "--data", "god.jsonl"), 3, "no such file", "good.jsonl")


def test_a_home_that_cannot_be_made_is_a_storage_error(cli: Any) -> None:
    (cli.folder / "a.txt").write_text(TEXT * 20)
    refused(cli("preprocess", "a.txt", "--tokenizer", "none", LLMKIT_HOME="/proc/nowhere"), 6, "LLMKIT_HOME")


def test_two_writers_of_one_name_get_two_versions(cli: Any) -> None:
    for name in ("a", "b"):
        (cli.folder / f"{name}.txt").write_text((name + " " + TEXT) * 50)
    both = [
        cli.start("preprocess", f"{name}.txt", "--name", "same", "--tokenizer", "none", "--json") for name in ("a", "b")
    ]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert sorted(result["artifact"]["ref"] for result in results) == ["same@1", "same@2"]
    cli.ok("registry", "verify")


def test_a_read_only_home_is_read_and_says_so_when_written_to(chain: Any) -> None:
    if sys.platform != "linux" or os.geteuid() != 0 or not _can_unshare():
        pytest.skip("needs a mount namespace of its own to make a read-only disk")
    script = f'mount --bind {chain.home} {chain.home} && mount -o remount,ro,bind {chain.home} && exec "$@"'

    def inside(*words: object) -> Any:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", *chain.command(*words)],
            cwd=chain.folder, env=chain.environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return type("Ran", (), {"code": done.returncode, "out": done.stdout, "err": done.stderr})

    assert inside("registry", "list").code == 0
    answered = inside("ask", "How do I compute a digest of a file?", "--index", "kb", "--json")
    assert answered.code == 0, answered.err
    refused(inside("preprocess", "docs", "--name", "new", "--tokenizer", "none"), 6, "LLMKIT_HOME")


def test_a_full_disk_leaves_what_was_there_and_says_what_to_do(cli: Any) -> None:
    if sys.platform != "linux" or os.geteuid() != 0 or not _can_unshare():
        pytest.skip("needs a mount namespace of its own to fill a disk")
    (cli.folder / "a.txt").write_text(TEXT * 200)
    numbers = random.Random(1)
    big = "\n".join(" ".join(str(numbers.random()) for _ in range(20)) for _ in range(20_000))
    (cli.folder / "b.txt").write_text(big)
    small, large = cli.command("preprocess", "a.txt", "--name", "a", "--tokenizer", "none"), cli.command(
        "preprocess", "b.txt", "--name", "b", "--tokenizer", "none"
    )  # fmt: skip
    listed, verified = cli.command("registry", "list", "--json"), cli.command("registry", "verify")
    cli.home.mkdir()
    quoted = [" ".join(f"'{word}'" for word in words) for words in (small, large, listed, verified)]
    script = (
        f"mount -t tmpfs -o size=3m tmpfs {cli.home} && {quoted[0]} --quiet && "
        f"{{ {quoted[1]}; echo code=$? >&2; {quoted[2]}; {quoted[3]} --json; }}"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=cli.folder, env=cli.environment, capture_output=True, text=True
    )
    assert "code=6" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert "free" in done.stderr
    listing, verification = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert [artifact["ref"] for artifact in listing["artifacts"]] == ["a@1"]
    assert verification["problems"] == []


def _can_unshare() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
