"""Trained vocabularies: the same bytes from any process, and those that the library's own trainers make."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from llmkit.data.tokenizer import RESERVED, UNKNOWN, train_tokenizer
from llmkit.data.vocabulary import canonical_unigram, train_wordpiece

STDLIB = Path(sysconfig.get_path("stdlib"))
BOTCHAN = "親譲りの無鉄砲で小供の時から損ばかりしている。小学校に居る時分学校の二階から飛び降りた事がある。"
MARKS = "🙂🐙 café naïve ÅÆØ שלום привет १२३ … “quoted” x²+y² \U000f0000\U00010000 ##ing #! "

# What differs between processes: the seed of Python's hashes, the number of threads and, unasked, the library's seeds.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_vocabulary import TEXTS
from llmkit.data.tokenizer import train_tokenizer
for kind in sorted(TEXTS):
    for algorithm in ("bpe", "wordpiece", "unigram", "characters"):
        for size in (400, 900):
            trained = train_tokenizer(TEXTS[kind], size, algorithm)
            print(kind, algorithm, size, trained.tokenizer.backend_tokenizer.to_str())
"""


def symmetric() -> str:
    """Words that come with their images under each exchange of letters and reversed: every count is tied many times."""
    source = random.Random(1)
    turned = str.maketrans("xyz", "yzx")
    words = []
    for _ in range(60):
        word = "".join(source.choices("xyz", k=source.randint(3, 8)))
        words += [word, word.translate(turned), word.translate(turned).translate(turned), word[::-1]]
    return " ".join(words)


def code() -> list[str]:
    return [(STDLIB / f"{name}.py").read_text(encoding="utf-8") for name in ("bisect", "heapq", "textwrap", "shlex")]


TEXTS = {
    "code": code(),
    "japanese": [BOTCHAN * 3, BOTCHAN[::-1]],
    "marks": [MARKS * 2, "".join(chr(number) for number in range(0x20, 0x500))],
    "mixed": [*code()[:2], BOTCHAN, MARKS],
    "tied": [symmetric()],
    "spaces": ["a\x1cb\x85c\u2028d\u3000e \t\r\n\x0b\x0cf", " \t\n"],
}


def test_the_same_texts_give_the_same_bytes_in_every_process() -> None:
    outputs = []
    for seed, threads in (("0", "1"), ("1", "2"), ("7", "3")):
        env = os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "PYTHONIOENCODING": "utf-8"}
        env["TOKENIZERS_PARALLELISM"] = "true" if threads != "1" else "false"
        command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
        outputs.append(subprocess.run(command, env=env, capture_output=True, check=True).stdout.decode("utf-8"))
    lines = [output.rstrip("\n").split("\n") for output in outputs]
    assert len(lines[0]) == len(TEXTS) * 4 * 2
    for first, second, third in zip(*lines, strict=True):
        assert first == second == third


def wordpiece(**model: int) -> Tokenizer:
    core = Tokenizer(models.WordPiece(unk_token=UNKNOWN, **model))
    core.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.UnicodeScripts()])
    return core


def special(*names: str) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in names]


@pytest.mark.parametrize("kind", ["code", "japanese", "mixed"])
def test_word_pieces_are_those_of_the_librarys_trainer_but_for_ties(kind: str) -> None:
    ours, theirs = wordpiece(), wordpiece()
    train_wordpiece(ours, TEXTS[kind], 700, special(UNKNOWN, "<s>"))
    trainer = trainers.WordPieceTrainer(
        vocab_size=700,
        special_tokens=special(UNKNOWN, "<s>"),
        limit_alphabet=175,
        min_frequency=2,
        show_progress=False,
    )
    theirs.train_from_iterator(TEXTS[kind], trainer)
    assert abs(ours.get_vocab_size() - theirs.get_vocab_size()) <= 3
    shared = set(ours.get_vocab()) & set(theirs.get_vocab())
    assert len(shared) > 0.9 * theirs.get_vocab_size()
    lengths = [sum(len(each.ids) for each in core.encode_batch(TEXTS[kind])) for core in (ours, theirs)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.005)


def test_every_word_of_its_text_is_spelled_again_from_its_pieces() -> None:
    core = wordpiece()
    train_wordpiece(core, [*code(), "##ing and ## and #"], 900, special(UNKNOWN))
    assert core.token_to_id(UNKNOWN) == 0
    text = core.normalizer.normalize_str("\n".join(code()) + "##ing")
    for word, _ in core.pre_tokenizer.pre_tokenize_str(text):
        pieces = core.encode(word).tokens
        assert pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:]) == word


def test_rare_characters_are_left_out_of_a_small_alphabet_and_frequent_ones_are_not() -> None:
    many = " ".join(chr(0x400 + number) for number in range(300))
    core = wordpiece()
    train_wordpiece(core, [many, many[:200], "zz zz"], 240, special(UNKNOWN))
    tokens = core.get_vocab()
    assert "z" in tokens and "zz" in tokens and chr(0x400) in tokens
    assert chr(0x400 + 299) not in tokens
    assert len(tokens) <= 240


def test_a_word_that_the_model_cannot_read_teaches_it_nothing() -> None:
    core = wordpiece(max_input_chars_per_word=20)
    train_wordpiece(core, ["q" * 500_000 + " " + "ab " * 9], 300, special(UNKNOWN))
    assert "ab" in core.get_vocab()
    assert not any("qq" in token for token in core.get_vocab())


def test_text_without_a_word_leaves_the_special_tokens_alone() -> None:
    trained = train_tokenizer([" \n\t"], 400, "wordpiece")
    assert trained.vocab_size == len(RESERVED) + 1
    assert trained.clipped


def unigram(texts: list[str]) -> Tokenizer:
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.UnigramTrainer(
        vocab_size=700,
        special_tokens=special("<s>", "</s>"),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return core


@pytest.mark.parametrize("kind", ["code", "japanese", "mixed"])
def test_the_canonical_form_of_a_unigram_model_reads_text_as_the_library_does(kind: str) -> None:
    core = unigram(TEXTS[kind])
    before = dict(json.loads(core.to_str())["model"]["vocab"])
    read = [core.encode(text).tokens for text in TEXTS[kind]]
    canonical_unigram(core)
    rows = json.loads(core.to_str())["model"]["vocab"]
    after = dict(rows)
    assert set(after) == set(before)
    assert [token for token, _ in rows[:2]] == ["<s>", "</s>"]
    assert rows[2:] == sorted(rows[2:], key=lambda row: (-row[1], row[0]))
    moved = {token for token in after if abs(after[token] - before[token]) > 0.6e-4}
    lowest = min(after.values())
    assert all(len(token) == 1 and after[token] == lowest for token in moved)
    assert all(before[token] - lowest < 0.03 for token in moved)
    for text, best in zip(TEXTS[kind], read, strict=True):  # of equally likely readings it may take another
        found = core.encode(text).tokens
        assert "".join(found) == "".join(best)
        assert sum(before[token] for token in found) >= sum(before[token] for token in best) - 1e-4 * len(best)
