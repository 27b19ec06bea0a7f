"""How long chunks are where nobody says it: as the encoder can read."""

from types import SimpleNamespace
from typing import Any

import pytest

from llmkit.errors import ConfigError
from llmkit.stages.index import SIZE, IndexConfig, _size


@pytest.mark.parametrize(("reads", "size"), [(126, 126), (254, 254), (8190, SIZE)])
def test_chunks_are_never_longer_than_what_the_encoder_reads(reads: int, size: int) -> None:
    encoder: Any = SimpleNamespace(name="small", max_tokens=reads)
    assert _size(IndexConfig(inputs=("docs",)), encoder) == size


def test_a_size_that_was_asked_for_is_kept_or_refused() -> None:
    encoder: Any = SimpleNamespace(name="small", max_tokens=126)
    asked = IndexConfig(inputs=("docs",), chunk_size=100)
    assert _size(asked, encoder) == _size(asked, None) == 100
    with pytest.raises(ConfigError, match="longer than the 126 that small reads") as refused:
        _size(IndexConfig(inputs=("docs",), chunk_size=127), encoder)
    assert "--chunk-size 126" in str(refused.value.mend)


def test_without_an_encoder_chunks_are_as_long_as_with_the_usual_one() -> None:
    assert _size(IndexConfig(inputs=("docs",)), None) == SIZE
