"""`charnn score --pairs`: accuracy on minimal pairs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import charnn
from charnn.cli.output import console
from charnn.cli.output.records import Row, write_rows
from charnn.config import ScoreOptions
from charnn.errors import TextError

if TYPE_CHECKING:
    from charnn.analysis.minimal_pairs import Accuracy, ScoredPair
    from charnn.storage.model_directory import Model

PAIR_COLUMNS = ("line", "log_prob_good", "log_prob_bad", "margin", "log_base", "verdict")
VERDICTS = {1.0: "good", 0.5: "tie", 0.0: "bad"}


def score_minimal_pairs(models: "Sequence[Model]", file: str, options: ScoreOptions, output: str | None) -> None:
    """Write the accuracy on minimal pairs: how often the good text is the more probable one."""
    name = charnn.api.display_name(file)
    pair_file = charnn.api.read_pairs(
        name, charnn.api.read_units([file], None, unit=options.unit, encoding=options.encoding)
    )
    reserved = [column for column in pair_file.categories if options.per_pair and column in PAIR_COLUMNS]
    if reserved:
        raise TextError(f"{name}:1: found a category {reserved[0]}, which is a column of --per-pair; rename it")
    scorer = charnn.api.build_scorer(models, options)
    pair_options = replace(options, eos=options.eos and not pair_file.has_prefix)
    texts = list(dict.fromkeys(text for pair in pair_file.pairs for text in (pair.good, pair.bad)))
    nats = {text: score.log_prob_nats for text, score in zip(texts, scorer.scores(texts, pair_options), strict=True)}
    scored_pairs = [charnn.api.ScoredPair(pair, nats[pair.good], nats[pair.bad]) for pair in pair_file.pairs]
    results = list(charnn.api.accuracies(scored_pairs, pair_file.categories))
    if options.per_pair:
        rows = (_pair_row(each, options) for each in scored_pairs)
        title = f"minimal pairs: log probabilities in base {options.base}; margin: good minus bad"
        write_rows(rows, form=options.format, output=output, title=title, shown=_shown_pair)
        overall = results[0]
        console.notice(
            f"accuracy {overall.accuracy:.2%}, 95 % interval {overall.low:.2%} to {overall.high:.2%}, over "
            f"{console.counted(overall.num_pairs, 'pair')} with {console.counted(overall.num_ties, 'tie')}"
        )
        return
    title = "accuracy (ties count 1/2) with a 95 % confidence interval (Wilson)"
    rows = (_accuracy_row(accuracy, options) for accuracy in results)
    write_rows(rows, form=options.format, output=output, title=title, shown=_shown_accuracy)


def _pair_row(scored_pair: "ScoredPair", options: ScoreOptions) -> Row:

    base = options.base
    return {
        "line": scored_pair.pair.line,
        "log_prob_good": charnn.api.in_base(scored_pair.good_nats, base),
        "log_prob_bad": charnn.api.in_base(scored_pair.bad_nats, base),
        "margin": charnn.api.in_base(scored_pair.margin_nats, base),
        "log_base": base,
        "verdict": VERDICTS[scored_pair.points],
        **scored_pair.pair.categories,
        "good": scored_pair.pair.good,
        "bad": scored_pair.pair.bad,
    }


def _shown_pair(row: Row) -> list[str]:
    return [console.visible_line(f"{value:.4f}" if isinstance(value, float) else str(value)) for value in row.values()]


def _accuracy_row(accuracy: "Accuracy", options: ScoreOptions) -> Row:

    return {
        "category": accuracy.category or "all",
        "value": accuracy.value,
        "pairs": accuracy.num_pairs,
        "ties": accuracy.num_ties,
        "accuracy": accuracy.accuracy,
        "low": accuracy.low,
        "high": accuracy.high,
        "mean_margin": charnn.api.in_base(accuracy.mean_margin_nats, options.base),
        "log_base": options.base,
    }


def _shown_accuracy(row: Row) -> list[str]:
    percent = {"accuracy", "low", "high"}
    return [_cell(value, is_percent=name in percent) for name, value in row.items()]


def _cell(value: Any, *, is_percent: bool) -> str:
    if is_percent:
        return f"{value:.2%}"
    return console.visible_line(f"{value:.3f}" if isinstance(value, float) else str(value))
