"""The presets: which measure each rule looks at, and its threshold for each kind of text.

Thresholds for spaced scripts are those of the papers. Those for other scripts follow FineWeb2 (Penedo et al. 2025,
https://arxiv.org/abs/2506.20920), which fitted them per language on web text; where Japanese and Chinese share a
variant, the looser of their values stands, and Thai's stand for its neighbours. They are found in
https://github.com/huggingface/fineweb-2/tree/main/configs (jpn_Jpan, cmn_Hani, kor_Hang, tha_Thai). Repetition of words
in Korean keeps Gopher's thresholds: FineWeb2 counts morphemes, and eojeol, being longer, repeat less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from llmkit.data.steps.quality.words import Variant

Preset = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb", "code"]
PRESETS: tuple[Preset, ...] = get_args(Preset)


@dataclass(frozen=True)
class Rule:
    """One rule of a preset.

    Attributes:
        name: `min_words`; as `--threshold` and reasons name it, behind its preset.
        measure: which of the measures of a text it looks at.
        limit: whether the threshold is the least or the most that passes.
        phrase: what the measured number is a number of, for a person.
        thresholds: by variant; a variant that is absent has no such rule.
    """

    name: str
    measure: str
    limit: Literal["least", "most"]
    phrase: str
    thresholds: Mapping[Variant, float]

    def passes(self, value: float, threshold: float) -> bool:
        return value >= threshold if self.limit == "least" else value <= threshold

    def explain(self, value: float, threshold: float) -> str:
        """Such as "12 words, and at least 50 are asked for"."""
        asked = "at least {} are asked for" if self.limit == "least" else "at most {} are allowed"
        return f"{_number(value)} {self.phrase}, and {asked.format(_number(threshold))}"


@dataclass(frozen=True)
class LineRule:
    """A rule that removes lines and drops no document by itself; see `llmkit.data.steps.quality.lines.LineRules`."""

    name: str
    field: Literal["terminal", "min_words", "max_word_length"]
    thresholds: Mapping[Variant, float]


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"


def _of(
    spaced: float, cjk: float | None = None, korean: float | None = None, unspaced: float | None = None
) -> dict[Variant, float]:
    """Thresholds by variant: that of `spaced` holds for the others too where they have none of their own."""
    given = {Variant.SPACED: spaced, Variant.CJK: cjk, Variant.KOREAN: korean, Variant.UNSPACED: unspaced}
    return {variant: spaced if value is None else value for variant, value in given.items()}


def _code(value: float) -> dict[Variant, float]:
    return {Variant.CODE: value}


_TOP = {2: (0.20, 0.256, 0.20, 0.221), 3: (0.18, 0.201, 0.18, 0.197), 4: (0.16, 0.171, 0.16, 0.162)}
_DUPLICATE = {
    5: (0.15, 0.307, 0.15, 0.185),
    6: (0.14, 0.283, 0.14, 0.168),
    7: (0.13, 0.264, 0.13, 0.152),
    8: (0.12, 0.248, 0.12, 0.137),
    9: (0.11, 0.234, 0.11, 0.124),
    10: (0.10, 0.223, 0.10, 0.111),
}

RULES: Mapping[Preset, tuple[Rule, ...]] = {
    # Rae et al. 2021, appendix A.1.1 (https://arxiv.org/abs/2112.11446). 50 words of English are about 25 eojeol of
    # Korean. A mean length of words says nothing without words; the rule of alphabetic words then looks at the share of
    # letters among characters. It is below FineWeb2's .735 to .759 of words, because a date or a price is one word of
    # many characters: of JaQuAD's paragraphs 1 % have less than .7, for their dates, and none less than .6.
    "gopher_quality": (
        Rule("min_words", "words", "least", "words", _of(50, korean=25)),
        Rule("max_words", "words", "most", "words", _of(100_000)),
        Rule(
            "min_mean_word_length",
            "mean_word_length",
            "least",
            "characters a word",
            {Variant.SPACED: 3, Variant.KOREAN: 1.5},
        ),
        Rule(
            "max_mean_word_length",
            "mean_word_length",
            "most",
            "characters a word",
            {Variant.SPACED: 10, Variant.KOREAN: 8},
        ),
        Rule("max_symbol_ratio", "symbol_ratio", "most", "hash signs or ellipses a word", _of(0.1)),
        Rule("max_bullet_lines", "bullet_lines", "most", "of the lines begin with a bullet", _of(0.9)),
        Rule("max_ellipsis_lines", "ellipsis_lines", "most", "of the lines end with an ellipsis", _of(0.3)),
        Rule(
            "min_alpha_words",
            "alpha_words",
            "least",
            "of the words (without spaces: of the characters) are of letters",
            _of(0.8, cjk=0.6, unspaced=0.7),
        ),
        Rule("min_stop_words", "stop_words", "least", "different function words", _of(2)),
    ),
    # Table A1 of the same. FineWeb2 has .349 to .375 for duplicate lines in the scripts without spaces.
    "gopher_repetition": (
        Rule("dup_line_frac", "dup_line_frac", "most", "of the lines repeat another", _of(0.3, 0.375, 0.374, 0.349)),
        Rule("dup_para_frac", "dup_para_frac", "most", "of the paragraphs repeat another", _of(0.3)),
        Rule("dup_line_char_frac", "dup_line_char_frac", "most", "of the characters are in repeated lines", _of(0.2)),
        Rule(
            "dup_para_char_frac", "dup_para_char_frac", "most", "of the characters are in repeated paragraphs", _of(0.2)
        ),
        *(
            Rule(
                f"top_{n}_gram_frac",
                f"top_{n}_gram_frac",
                "most",
                f"of the characters are in the commonest {n} words in a row",
                _of(*values),
            )
            for n, values in _TOP.items()
        ),
        *(
            Rule(
                f"dup_{n}_gram_frac",
                f"dup_{n}_gram_frac",
                "most",
                f"of the characters are in repeated runs of {n} words",
                _of(*values),
            )
            for n, values in _DUPLICATE.items()
        ),
    ),
    # Raffel et al. 2020, section 2.2 (https://arxiv.org/abs/1910.10683). Thai and Lao end sentences with a space, so
    # sentences cannot be counted.
    "c4": (
        Rule(
            "min_sentences",
            "sentences",
            "least",
            "sentences",
            {Variant.SPACED: 5, Variant.CJK: 5, Variant.KOREAN: 5},
        ),
        Rule("max_lorem_ipsum", "lorem_ipsum", "most", "lines with lorem ipsum", _of(0)),
        Rule("max_curly_brackets", "curly_brackets", "most", "lines with a curly bracket", _of(0)),
    ),
    # Penedo et al. 2024 (https://arxiv.org/abs/2406.17557). FineWeb2: characters of repeated lines .1; no
    # line need end in a full stop in Thai; newlines a word .162 and .178 in Japanese and Chinese, .153 in Thai, .196 a
    # morpheme in Korean, which has two in an eojeol.
    "fineweb": (
        Rule(
            "line_punct_ratio",
            "line_punct_ratio",
            "least",
            "of the lines end as a sentence does",
            {Variant.SPACED: 0.12, Variant.CJK: 0.106, Variant.KOREAN: 0.062},
        ),
        Rule("short_line_ratio", "short_line_ratio", "most", "of the lines are short", _of(0.67)),
        Rule(
            "char_dup_ratio",
            "char_dup_ratio",
            "most",
            "of the characters are in repeated lines",
            _of(0.01, 0.1, 0.1, 0.1),
        ),
        Rule("new_line_ratio", "new_line_ratio", "most", "line ends a word", _of(0.3, 0.178, 0.392, 0.153)),
    ),
    # Line lengths, letters and autogenerated: Chen et al. 2021 (https://arxiv.org/abs/2107.03374) and
    # StarCoder, Li et al. 2023 (https://arxiv.org/abs/2305.06161), whose .25 is of letters. Encoded data: StarCoder2,
    # Lozhkov et al. 2024 (https://arxiv.org/abs/2402.19173): at most half a file, no piece above 1,024.
    "code": (
        Rule("max_mean_line_length", "mean_line_length", "most", "characters a line", _code(100)),
        Rule("max_line_length", "max_line_length", "most", "characters in the longest line", _code(1000)),
        Rule("min_alphanumeric", "alphanumeric", "least", "of the characters are letters or digits", _code(0.25)),
        Rule("min_alphabetic", "alphabetic", "least", "of the characters are letters", _code(0.25)),
        Rule("max_autogenerated", "autogenerated", "most", "marks of a generated file", _code(0)),
        Rule("max_encoded", "encoded", "most", "of the characters are encoded data", _code(0.5)),
        Rule("max_longest_encoded", "longest_encoded", "most", "characters in one piece of data", _code(1024)),
        Rule("max_numeric_lines", "numeric_lines", "most", "of the lines are rows of numbers", _code(0.7)),
    ),
}

LINE_RULES: Mapping[Preset, tuple[LineRule, ...]] = {
    "c4": (
        LineRule("terminal_punctuation", "terminal", _of(1, unspaced=0)),
        LineRule("min_line_words", "min_words", _of(3)),
        LineRule("max_word_length", "max_word_length", _of(1000)),
    )
}

SHORT_LINE: Mapping[Variant, int] = {Variant.SPACED: 30, Variant.CJK: 15, Variant.KOREAN: 15, Variant.UNSPACED: 30}
"""Characters up to which FineWeb calls a line short; half where a character says twice as much."""
