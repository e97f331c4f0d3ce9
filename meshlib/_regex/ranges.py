"""Sets of characters as sorted, disjoint ranges of code points; the named classes of RE2."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ["LAST", "PERL", "POSIX", "WORD", "Ranges", "fold", "meet", "merge", "negate"]

Ranges: TypeAlias = tuple[tuple[int, int], ...]

LAST: Final = 0x10FFFF

SPACE: Final[Ranges] = ((9, 10), (12, 13), (32, 32))
DIGIT: Final[Ranges] = ((48, 57),)
WORD: Final[Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
PERL: Final = {"d": DIGIT, "s": SPACE, "w": WORD}
POSIX: Final[dict[str, Ranges]] = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": DIGIT,
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": WORD,
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}


def merge(ranges: Ranges) -> Ranges:
    """Ranges sorted, those that touch made one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def negate(ranges: Ranges) -> Ranges:
    """All characters outside the ranges."""
    gaps: list[tuple[int, int]] = []
    begin = 0
    for low, high in ranges:
        if begin < low:
            gaps.append((begin, low - 1))
        begin = high + 1
    if begin <= LAST:
        gaps.append((begin, LAST))
    return tuple(gaps)


def fold(ranges: Ranges) -> Ranges:
    """The ranges with the other case of every ASCII letter in them."""
    more: list[tuple[int, int]] = list(ranges)
    for low, high in ranges:
        for first, last, shift in ((65, 90, 32), (97, 122, -32)):
            begin, end = max(low, first), min(high, last)
            if begin <= end:
                more.append((begin + shift, end + shift))
    return merge(tuple(more))


def meet(some: Ranges, others: Ranges) -> bool:
    """True if the ranges share a character."""
    return any(low <= last and first <= high for low, high in some for first, last in others)
