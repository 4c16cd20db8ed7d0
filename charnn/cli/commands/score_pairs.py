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
    """Write how often the good one of two texts is more probable."""

    scorer = charnn.api.build_scorer(models, options)
    found = charnn.api.read_pairs(
        file, charnn.api.read_units([file], None, unit=options.unit, encoding=options.encoding)
    )
    reserved = [name for name in found.categories if options.per_pair and name in PAIR_COLUMNS]
    if reserved:
        raise TextError(
            f"{file}:1: found a category {reserved[0]}, which is what a figure of --per-pair is called; rename it"
        )
    scored = replace(options, eos=options.eos and not found.has_prefix)
    texts = list(dict.fromkeys(text for pair in found.pairs for text in (pair.good, pair.bad)))
    nats = {text: score.log_prob_nats for text, score in zip(texts, scorer.scores(texts, scored), strict=True)}
    judged = [charnn.api.ScoredPair(pair, nats[pair.good], nats[pair.bad]) for pair in found.pairs]
    shares = list(charnn.api.accuracies(judged, found.categories))
    if options.per_pair:
        rows = (_pair_row(each, options) for each in judged)
        title = f"pairs, log probabilities in base {options.base}; the margin is that of the good text"
        write_rows(rows, form=options.format, output=output, title=title, shown=_shown_pair)
        overall = shares[0]
        console.notice(
            f"accuracy {overall.accuracy:.2%}, 95 % interval {overall.low:.2%} to {overall.high:.2%}, over "
            f"{console.counted(overall.num_pairs, 'pair')} with {console.counted(overall.num_ties, 'tie')}"
        )
        return
    title = "share of pairs whose good text is more probable, ties as half, with a 95 % interval (Wilson)"
    rows = (_share_row(share, options) for share in shares)
    write_rows(rows, form=options.format, output=output, title=title, shown=_shown_share)


def _pair_row(judged: "ScoredPair", options: ScoreOptions) -> Row:

    base = options.base
    return {
        "line": judged.pair.line,
        "log_prob_good": charnn.api.in_base(judged.good_nats, base),
        "log_prob_bad": charnn.api.in_base(judged.bad_nats, base),
        "margin": charnn.api.in_base(judged.margin_nats, base),
        "log_base": base,
        "verdict": VERDICTS[judged.points],
        **judged.pair.categories,
        "good": judged.pair.good,
        "bad": judged.pair.bad,
    }


def _shown_pair(row: Row) -> list[str]:
    return [console.visible_line(f"{value:.4f}" if isinstance(value, float) else str(value)) for value in row.values()]


def _share_row(share: "Accuracy", options: ScoreOptions) -> Row:

    return {
        "category": share.category or "all",
        "value": share.value,
        "pairs": share.num_pairs,
        "ties": share.num_ties,
        "accuracy": share.accuracy,
        "low": share.low,
        "high": share.high,
        "mean_margin": charnn.api.in_base(share.mean_margin_nats, options.base),
        "log_base": options.base,
    }


def _shown_share(row: Row) -> list[str]:
    percent = {"accuracy", "low", "high"}
    return [_cell(value, is_share=name in percent) for name, value in row.items()]


def _cell(value: Any, *, is_share: bool) -> str:
    if is_share:
        return f"{value:.2%}"
    return console.visible_line(f"{value:.3f}" if isinstance(value, float) else str(value))
