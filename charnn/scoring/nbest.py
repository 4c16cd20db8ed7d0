"""n-best lists: hypotheses of what was said, each with an ID, a score of its own and a text."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from charnn.errors import TextError


@dataclass(frozen=True)
class Hypothesis:
    """One line of a list.

    Args:
        id: of the utterance; several hypotheses share one.
        given: its score as it stands in the list.
        text: what may have been said.
    """

    id: str
    given: str
    text: str


def read_hypotheses(name: str, lines: Iterable[str]) -> Iterator[Hypothesis]:
    r"""Read `ID<TAB>score<TAB>text` line by line.

    Raises:
        TextError: naming the line that has not these three, or a score that is no number.

    Example:
        >>> hypothesis, *_ = charnn.api.read_hypotheses("list.tsv", ["u1\t-12.5\tthe fox slept"])
        >>> hypothesis.text
        'the fox slept'
    """
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if len(cells) != 3:
            raise TextError(
                f"{name}:{number}: found {len(cells)} of three columns, ID, score and text; separate them by tabs"
            )
        if not is_number(cells[1]):
            raise TextError(f"{name}:{number}: found the score {cells[1]!r}, which is no number; write one as -123.4")
        yield Hypothesis(*cells)


def is_number(text: str) -> bool:
    """Tell whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def combined(hypothesis: Hypothesis, log_prob: float, *, lm_scale: float, word_penalty: float) -> float:
    """Return a hypothesis' score with the model's log probability and a penalty for each word.

    Args:
        log_prob: in the base of the list's scores.

    Example:
        >>> charnn.api.combined(hypothesis, -20.0, lm_scale=0.5, word_penalty=1.0)
        -19.5
    """
    return float(hypothesis.given) + lm_scale * log_prob + word_penalty * len(hypothesis.text.split())


class Best:
    """The best hypothesis of each ID; of equal ones the first.

    Example:
        >>> best = charnn.api.Best()
        >>> best.take("u1", -19.5, "the fox slept")
        >>> best.of_each["u1"]
        (-19.5, 'the fox slept')
    """

    def __init__(self) -> None:
        self.of_each: dict[str, tuple[float, str]] = {}

    def take(self, id: str, total: float, text: str) -> None:
        """Look at one more."""
        if id not in self.of_each or total > self.of_each[id][0]:
            self.of_each[id] = (total, text)
