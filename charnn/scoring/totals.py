"""The sums over all units of a text and, if wanted, over those of each file."""

from collections.abc import Callable, Sequence

from charnn.files import JsonObject
from charnn.scoring.formats import summary
from charnn.scoring.scores import Score


class Totals:
    """Sums of scores, added up in the order of the text.

    Args:
        files: names of the files whose own totals are kept; empty for none.
        has_plain: whether the totals without adaptation are kept.

    Example:
        >>> totals = charnn.api.Totals()
        >>> totals.add(model.score("The fox slept."))
        >>> totals.score.num_tokens
        15
    """

    def __init__(self, files: Sequence[str] = (), *, has_plain: bool = False) -> None:
        self.score, self.plain = Score(), Score() if has_plain else None
        self.num_scores = self.num_units = self.num_line_ends = 0
        self._files = files
        self._by_file: dict[int, Score] = {}

    def add(self, score: Score, plain: Score | None = None, file_number: int = 0, *, num_units: int = 1) -> None:
        """Add the score of a unit, or of a segment of a running text.

        Args:
            plain: the score without adaptation, if its totals are kept.
            file_number: position of the file among all, from 0.
            num_units: 0 for a segment of a running text, whose units are counted elsewhere.
        """
        self.score += score
        self.num_line_ends += score.text.count("\n")
        self.num_scores += 1
        self.num_units += num_units
        if self.plain is not None and plain is not None:
            self.plain += plain
        if self._files:
            self._by_file[file_number] = self._by_file.get(file_number, Score()) + score

    def add_all(self, added_to: Callable[[Score], Score], file_number: int, *, num_units: int) -> None:
        """Add the scores of several units of a file.

        Args:
            added_to: returns a total to which they were added one after the other.
        """
        self.score = added_to(self.score)
        self.num_scores += num_units
        self.num_units += num_units
        if self._files:
            self._by_file[file_number] = added_to(self._by_file.get(file_number, Score()))

    def to_dict(self) -> JsonObject:
        """Return the totals as JSON values."""
        plain = {} if self.plain is None else {"plain": summary(self.plain)}
        by_file = [
            {"file": name, **summary(self._by_file.get(number, Score()))} for number, name in enumerate(self._files)
        ]
        return summary(self.score) | plain | ({"files": by_file} if by_file else {})
