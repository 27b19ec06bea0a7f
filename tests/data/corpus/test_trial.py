import json
import random
from pathlib import Path

from llmkit.config.sections import CleanOptions, PrivacyOptions, QualityOptions
from llmkit.data.corpus.prepare import PrepareOptions
from llmkit.data.corpus.trial import SIMILARITIES, try_out
from llmkit.data.sources.collect import collect
from llmkit.data.steps.quality.presets import PRESETS

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"
ENGLISH = "The keeper of the lighthouse wrote down the weather and that of the sea, with care, for {} years."


def folder_of(tmp_path: Path, texts: dict[str, str | bytes]) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def prose(seed: int) -> str:
    rng = random.Random(seed)
    words = ["the", "sea", "keeper", "of", "and", "tower", "wrote", "that", "storm", "with", "be", "have", "day"]
    return "\n".join(" ".join(rng.choice(words) for _ in range(15)).capitalize() + "." for _ in range(12))


def test_a_trial_finds_languages_personal_data_unreadable_and_similar_documents(tmp_path: Path) -> None:
    texts: dict[str, str | bytes] = {f"{n}.txt": prose(n) for n in range(6)}
    texts |= {
        "ja.txt": JAPANESE * 5,
        "copy.txt": prose(0).upper(),
        "mail.txt": ENGLISH.format(20) * 3 + " Write to keeper@example.org or call +44 20 7946 0958.",
        "blob.txt": random.Random(1).randbytes(50_000),
        "short.txt": "hi",
        "a.py": "import os\n\n\ndef name() -> str:\n    return os.name\n" * 3,
    }
    collected = collect([str(folder_of(tmp_path, texts))])
    found = try_out(collected, PrepareOptions(), 100).to_json()
    assert found["documents"] == 11
    assert found["unreadable"] == {"binary": 1}
    assert found["too_short"] == 1
    assert found["languages"]["ja"] == 1
    assert found["languages"]["en"] == 8
    assert found["languages"][""] == 1, "code has no language"
    assert found["pii"]["found"]["email"] == 1
    assert found["pii"]["documents"] == 1
    assert found["near_duplicates"] == {str(threshold): 1 for threshold in SIMILARITIES}
    json.dumps(found, allow_nan=False)


def test_every_rule_of_every_preset_is_tried_whether_it_is_on_or_not(tmp_path: Path) -> None:
    texts: dict[str, str | bytes] = {"a.txt": prose(1), "ja.txt": JAPANESE * 5, "a.py": "x = 1\ny = 2\nz = 3\n" * 20}
    found = try_out(collect([str(folder_of(tmp_path, texts))]), PrepareOptions(), 10).to_json()
    assert {rule["rule"].split(".")[0] for rule in found["rules"]} == set(PRESETS)
    of_words = [rule for rule in found["rules"] if rule["rule"] == "gopher_quality.min_words"]
    assert [rule["documents"] for rule in of_words] == [1, 1], "English and Japanese apart; code has its own rules"
    assert all(rule["p5"] <= rule["p50"] <= rule["p95"] for rule in found["rules"])
    assert all(0 <= rule["drops"] <= rule["documents"] for rule in found["rules"])


def test_a_threshold_of_ones_own_is_the_one_that_is_tried(tmp_path: Path) -> None:
    collected = collect([str(folder_of(tmp_path, {"a.txt": prose(1), "b.txt": prose(2)}))])

    def drops(*threshold: str) -> tuple[float, int]:
        options = PrepareOptions(quality=QualityOptions(threshold=threshold))
        rules = {rule["rule"]: rule for rule in try_out(collected, options, 10).to_json()["rules"]}
        return rules["gopher_quality.min_words"]["threshold"], rules["gopher_quality.min_words"]["drops"]

    assert drops() == (50, 0)
    assert drops("gopher_quality.min_words=1000") == (1000, 2)


def test_a_sample_is_spread_over_the_files_and_the_same_for_a_seed(tmp_path: Path) -> None:
    rows = "\n".join(json.dumps({"text": prose(n)}) for n in range(200))
    texts: dict[str, str | bytes] = {"rows.jsonl": rows, **{f"{n}.txt": JAPANESE * (5 + n) for n in range(9)}}
    collected = collect([str(folder_of(tmp_path, texts))])
    found = try_out(collected, PrepareOptions(), 20).to_json()
    assert found["languages"] == {"ja": 9, "en": 2}
    assert found == try_out(collected, PrepareOptions(), 20).to_json()
    assert try_out(collected, PrepareOptions(), 3).to_json()["documents"] == 3


def test_what_is_switched_off_is_not_asked_for(tmp_path: Path) -> None:
    collected = collect([str(folder_of(tmp_path, {"a.txt": "keeper@example.org +44 20 7946 0958"}))])
    options = PrepareOptions(clean=CleanOptions(min_chars=0), privacy=PrivacyOptions(pii="off", pii_types=("email",)))
    assert try_out(collected, options, 5).to_json()["pii"]["found"] == {"email": 1}
