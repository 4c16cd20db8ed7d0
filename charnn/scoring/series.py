"""Scoring a series of numbers: its lines or cells are records of one running text, each of which follows all earlier ones."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from charnn.config import ScoreOptions
from charnn.errors import OptionError
from charnn.scoring.aggregation import EncodedUnit, TokenResults
from charnn.text.bins import KIND, is_series
from charnn.text.tokenizers import Tokenizer

UNITS_AT_ONCE = 4096

Numbered = Iterator[tuple[int, str]]


def read_series(
    numbered: Numbered,
    tokenizer: Tokenizer,
    read: Callable[[EncodedUnit], TokenResults],
    *,
    bos: bool,
    is_backward: bool,
) -> Iterator[tuple[EncodedUnit, TokenResults]]:
    """Yield each unit with its results, the state being carried from one to the next; no boundary is scored.

    Args:
        numbered: the units, of any number of values each, with their numbers.
        read: reads many values at once, with the state in which it left off.
        bos: whether the first value is scored.
        is_backward: whether the model reads from the end, and so all at once.
    """
    last_id, is_first = tokenizer.vocabulary.boundary_id, True
    while units := list(numbered if is_backward else islice(numbered, UNITS_AT_ONCE)):
        ids_of_units = [tokenizer.encode(text) for _, text in units]
        ids = np.concatenate(ids_of_units)
        read_ids = ids[::-1] if is_backward else ids
        context = np.concatenate(([last_id], read_ids))[:-1]
        results = read(EncodedUnit(0, "", context, read_ids, is_backward, 0, is_closed=False)) if len(ids) else None
        ends = np.cumsum([len(each) for each in ids_of_units]).tolist()
        for (number, text), end, own in zip(units, ends, ids_of_units, strict=True):
            first = len(ids) - end if is_backward else end - len(own)
            part = slice(first, first + len(own))
            num_unscored = int(not bos and is_first and first == 0 and len(own) > 0)
            unit = EncodedUnit(number, text, context[part], read_ids[part], is_backward, num_unscored, is_closed=False)
            yield unit, TokenResults(np.zeros(0)) if results is None else results.of_part(part)
        if len(ids):
            last_id, is_first = int(read_ids[-1]), False


def refuse_for_numbers(tokenizer: Tokenizer, options: ScoreOptions, name: str) -> None:
    """Refuse options that mean nothing for a model of numbers.

    Args:
        name: of the model.

    Raises:
        OptionError: naming the first.
    """
    if tokenizer.kind != KIND:
        return
    of_words = {
        "--by-word": options.by_word,
        "--by-region": options.by_region,
        "--spell": options.spell,
        f"--format {options.format}": options.format not in ("table", "tsv", "jsonl"),
    }
    for flag, is_set in of_words.items():
        if is_set:
            raise OptionError(f"{flag}: found {name}, a model of numbers, which have no words; leave it out")
    if len(options.column) > 1:
        raise OptionError(
            f"--column: found {len(options.column)} columns, but {name} reads one series; name one of them"
        )
    compared = {"--pairs": options.pairs, "--nbest": options.nbest}
    for flag, file in compared.items():
        if file is not None and is_series(tokenizer):
            raise OptionError(
                f"{flag}: found {name}, a model of one series, whose parts are not independent; train with --unit line"
            )
