"""Figures read as people write them."""

from __future__ import annotations

import pytest

from llmkit.reporting.figures import quantity, share, size


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (4210, "4.21 kB"),
        (999_999, "1 MB"),
        (2.5e9, "2.5 GB"),
    ],
)
def test_sizes_keep_three_digits_and_the_unit_that_fits(count: float, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 10, "0%"), (10, 10, "100%"), (1, 3, "33.3%"), (1, 10**6, "<0.1%"), (10**6 - 1, 10**6, ">99.9%"), (1, 0, "-")],
)
def test_a_share_never_rounds_something_to_nothing_or_to_all(part: int, whole: int, shown: str) -> None:
    assert share(part, whole) == shown


def test_a_quantity_has_its_unit_as_people_write_it() -> None:
    assert [quantity(1500, "B"), quantity(12.5, "%"), quantity(3, "files"), quantity(1234), quantity(None)] == [
        "1.5 kB",
        "12.5%",
        "3 files",
        "1,234",
        "-",
    ]
