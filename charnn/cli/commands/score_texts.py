"""`charnn score` of files and texts: one record per unit, and the totals."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.cli.output.lines import STDOUT, Lines
from charnn.cli.output.score_output import ScoreOutput
from charnn.cli.output.score_progress import Progress
from charnn.config import ScoreOptions
from charnn.interrupts import terminated_like_interrupted
from charnn.options import chosen

if TYPE_CHECKING:
    from charnn.scoring.build import Scorer
    from charnn.scoring.scores import Score
    from charnn.storage.model_directory import Model
    from charnn.text.located import ScoredInput


def read_input(
    texts: "Sequence[str] | None", files: Sequence[str], models: "Sequence[Model]", options: ScoreOptions
) -> "ScoredInput":
    """Return what is scored: texts, cells of tables, or units of files."""
    if texts:
        return charnn.api.given_texts(texts, is_running=options.is_running)
    if options.column:
        return charnn.api.read_cells(files, options.column, by_region=options.by_region, encoding=options.encoding)
    return charnn.api.input_to_score(models, files, options, tokenizer=models[0].tokenizer)


class _Totals:
    """The sums over all units and, for a summary of several files, over those of each.

    Args:
        files: names of the files whose totals are kept.
        has_plain: whether the totals without adaptation are kept.
    """

    def __init__(self, files: Sequence[str], *, has_plain: bool) -> None:
        self.score, self.plain = charnn.api.Score(), charnn.api.Score() if has_plain else None
        self.num_scores = self.num_units = 0
        self._files = files
        self._by_file: dict[int, Score] = {}

    def add(self, score: "Score", plain: "Score", file_number: int) -> None:
        """Add the score of a unit, or of a segment of a running text."""
        self.score += score
        self.num_scores += 1
        if self.plain is not None:
            self.plain += plain
        if self._files:
            self._by_file[file_number] = self._by_file.get(file_number, charnn.api.Score()) + score

    def check(self, files: Sequence[str]) -> None:
        """Raise TextError if the files are empty, and tell the user if no token was counted."""
        if not self.num_scores:
            raise charnn.api.empty_text_error(files, "there is nothing to score")
        if not self.score.num_tokens:
            console.notice("no token was scored: --no-bos, --no-eos and --exclude-unk leave none")

    def to_dict(self) -> dict[str, object]:
        """Return the totals as JSON values."""
        plain = {} if self.plain is None else {"plain": charnn.api.summary(self.plain)}
        by_file = [
            {"file": name, **charnn.api.summary(self._by_file.get(number, charnn.api.Score()))}
            for number, name in enumerate(self._files)
        ]
        return charnn.api.summary(self.score) | plain | ({"files": by_file} if by_file else {})


def score_texts(
    models: "Sequence[Model]",
    texts: "Sequence[str] | None",
    files: "list[str]",
    options: ScoreOptions,
    *,
    output: str | None,
    summary: str | None,
) -> None:
    """Write a record per unit and the totals, and the summary if a file is named for it."""
    source = read_input(texts, files, models, options)
    scorer = charnn.api.build_scorer(models, options)
    plain = charnn.api.build_plain_scorer(models, options, scorer.weights)
    has_parts = summary is not None and len(source.files) > 1 and options.unit != "stream"
    totals = _Totals(source.files if has_parts else (), has_plain=plain is not None)
    with (
        Lines(output) as lines,
        Progress(files, shown=bool(files) and (lines.is_file or not console.is_terminal())) as progress,
        terminated_like_interrupted(),
    ):
        written = ScoreOutput(options, name=", ".join(files) or "-", source=source, lines=lines, scorer=scorer)
        try:
            for group in source.groups:
                parts, same_parts = itertools.tee(group.texts()) if plain else (group.texts(), iter(()))
                scores = scorer.scores(parts, options, with_tokens=written.wants_tokens)
                for score, plain_score in zip(scores, _plain_scores(plain, same_parts, options), strict=False):
                    origin = group.next_origin()
                    written.add(score, origin)
                    totals.add(score, plain_score, origin.file_number)
                    progress.advance(score)
                    totals.num_units += not options.is_running
                if group.running_origin is not None:
                    totals.num_units += 1
                    written.end_running(group.running_origin)
        except KeyboardInterrupt:
            records = console.counted(totals.num_units, "record")
            done = "in a running text" if options.unit == "stream" else f"after {records}"
            console.notice(f"interrupted {done}")
            raise
        totals.check(files)
        charnn.api.report_unknown(totals.score, options, scorer.tokenizer, "this text")
        noun = "sentence" if options.by_region else "cell" if options.column else "text" if texts else ""
        reads_backward = any(each.is_backward for each in scorer.estimators)
        protocol = charnn.api.protocol_in_words(options, totals.num_units, noun=noun, reads_backward=reads_backward)
        written.finish(totals.score, protocol, totals.num_units, totals.plain)
    if summary:
        how = {
            "models": [str(model.path) for model in models],
            "weights": list(scorer.weights),
            "protocol": charnn.api.protocol_of(options),
        }
        _write_summary(summary, totals.to_dict() | how | {"options": chosen(options)})


def _plain_scores(plain: "Scorer | None", parts: Iterator[str], options: ScoreOptions) -> "Iterator[Score]":
    return plain.scores(parts, options) if plain else itertools.repeat(charnn.api.Score())


def _write_summary(path: str, facts: dict[str, object]) -> None:
    if path in STDOUT:
        console.write_json(facts)
        return
    charnn.api.write_output(Path(path), (charnn.api.to_json(facts) + "\n").encode("utf-8"))
