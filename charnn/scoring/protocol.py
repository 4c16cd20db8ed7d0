"""The protocol of a perplexity: the units into which a text is divided, and the hidden state from which each is read.

`score`, `compare` and the validation of training name it by the same options, so that equal names mean comparable figures.
"""

from charnn.config.scoring import ScoreOptions
from charnn.config.text import Unit

RUNNING = "--unit stream"


def protocol_of(options: ScoreOptions, *, is_series: bool = False) -> str:
    """Return the name of a protocol: the options of `charnn score` that select it.

    Args:
        is_series: whether the units are records of one series of numbers, which is a running text in any case.

    Example:
        >>> charnn.api.protocol_of(ScoreOptions())
        '--unit line --state reset'
    """
    if is_series and not options.is_running:
        return RUNNING
    return f"--unit {options.unit}" if options.is_running else f"--unit {options.unit} --state {options.state}"


def validation_protocol(unit: Unit) -> str:
    """Return the name of the protocol by which training evaluates a model on its held-out text.

    Args:
        unit: the unit of the model.

    Example:
        >>> charnn.api.validation_protocol("document")
        '--unit document --state reset'
    """
    return RUNNING if unit == "stream" else f"--unit {unit} --state reset"


def protocol_in_words(
    options: ScoreOptions,
    num_units: int,
    *,
    noun: str = "",
    reads_backward: bool = False,
    is_series: bool = False,
    scores_strands: bool = False,
) -> str:
    """Return what a protocol does, and the option that selects the other one.

    Args:
        num_units: number of units that were read.
        noun: what a unit is called; its name if empty.
        reads_backward: whether a model reads from right to left, so that no hidden state is carried from unit to unit.
        is_series: see `protocol_of`.
        scores_strands: whether each unit is scored on both strands, which cannot be one text.

    Example:
        >>> charnn.api.protocol_in_words(ScoreOptions(), 3)
        '3 lines, each from the initial state; --state carry reads them as one text'
    """
    if is_series:
        return "one series, hidden state carried from value to value"
    if options.is_running:
        what = "one running text" if options.unit == "stream" or num_units == 1 else f"{num_units:,} running texts"
        return f"{what}, hidden state carried; --unit line reads each line from the initial state"
    noun = noun or options.unit
    if (options.column or scores_strands) and num_units > 1:
        return f"{num_units:,} {noun}s, each from the initial state"
    if num_units == 1:
        return f"1 {noun}, from the initial state"
    if options.state == "carry":
        return (
            f"{num_units:,} {noun}s as one text, hidden state carried; --state reset reads each from the initial state"
        )
    other = RUNNING if reads_backward else "--state carry"
    return f"{num_units:,} {noun}s, each from the initial state; {other} reads them as one text"


def validation_in_words(unit: Unit, *, num_tokens: int, num_held_out: int) -> str:
    """Return how training evaluated a model, and the options of `charnn score` that do the same.

    Args:
        unit: the unit of the model.
        num_tokens: number of tokens that were evaluated.
        num_held_out: number of tokens that were held out.

    Example:
        >>> charnn.api.validation_in_words("line", num_tokens=9, num_held_out=9)
        'each held-out line from the initial state, as score does'
    """
    how = {
        "stream": "held-out text read as running text, as score --unit stream does",
        "line": "each held-out line from the initial state, as score does",
        "document": "each held-out document from the initial state, as score --unit document does",
        "tune": "each held-out tune from the initial state, as score --unit tune does",
    }[unit]
    part = f"{num_tokens:,} of {num_held_out:,} tokens, in pieces: " if num_tokens < num_held_out else ""
    return part + how
