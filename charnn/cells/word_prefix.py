"""The word so far as an input of a network of characters: a row of a table, by a hash of the letters of the word.

row = (A h + code) mod R, h being the row of the letter before, or 0 where the word begins; other characters have their own row.
Written once for NumPy arrays and torch tensors.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

MULTIPLIER = 31_607
"""A, below the square root of 2^53 by far, so that a row is exact in the numbers of JavaScript, too."""
MAX_WORD_ROWS = 32_749
"""Maximum rows of a table; a prime."""
WORD_CHARACTERS = "'\u2019_"
"""Characters that continue a word beside letters, digits and combining marks."""
BYTE = re.compile("<0x([0-9A-F]{2})>")
"""The name of a byte that is not a printable character of ASCII."""
NO_CHARACTER = 0x110000
"""Code of a token that is not a character, such as <unk>."""


def codes_of(tokens: Sequence[str]) -> tuple[int, ...]:
    """Return the code of each token (V,): above 0 for one that continues a word, the same in upper and lower case, else below.

    Wide characters, as of Chinese, stand for words of their own, so that they do not continue one.

    Example:
        >>> from charnn.cells.word_prefix import codes_of
        >>> codes_of(["T", "t", " ", "<unk>"])
        (117, 117, -33, -1114113)
    """
    return tuple(map(_code, tokens))


def _code(token: str) -> int:
    if byte := BYTE.fullmatch(token):
        value = int(byte[1], 16)
        return 1 + NO_CHARACTER + value if value >= 0x80 else -1 - value  # part of a character beyond ASCII
    if len(token) != 1:
        return -1 - NO_CHARACTER
    is_letter = token.isalnum() or token in WORD_CHARACTERS or unicodedata.category(token).startswith("M")
    if is_letter and unicodedata.east_asian_width(token) not in ("W", "F"):
        return 1 + ord(token.lower()[0])
    return -1 - ord(token)


def next_row(code: int, word: int, num_rows: int) -> tuple[int, int]:
    """Return the row of a token with this code, and the word so far after it, given that before it."""
    row = (word * MULTIPLIER + code if code > 0 else -code) % num_rows
    return row, row if code > 0 else 0


def rows_of_words(codes_TB: Any, word_B: Any, num_rows: int, xp: Any) -> tuple[Any, Any]:
    """Return the rows of tokens (T, B), and the word so far after the last of them (B,).

    The recurrence is computed for all tokens at once, by doubling: word = factor word_before + value, composed with that of the
    token one, two, four and so on before.

    Args:
        codes_TB: of the tokens, see `codes_of`.
        word_B: the word so far, 0 for none.
        num_rows: R.
        xp: numpy or torch.
    """
    is_letter_TB = codes_TB > 0
    factor_TB = is_letter_TB * (MULTIPLIER % num_rows)
    value_TB = is_letter_TB * codes_TB % num_rows
    distance = 1
    while distance < len(codes_TB) and factor_TB.any():  # until no word is as long
        later_TB = factor_TB[distance:]
        values = later_TB * value_TB[:-distance] + value_TB[distance:]
        value_TB = xp.concatenate((value_TB[:distance], values % num_rows))
        factor_TB = xp.concatenate((factor_TB[:distance], later_TB * factor_TB[:-distance] % num_rows))
        distance *= 2
    words_TB = (factor_TB * word_B + value_TB) % num_rows
    return words_TB + xp.where(is_letter_TB, 0, -codes_TB) % num_rows, words_TB[-1]
