"""`charnn compare`: two models on one text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

import charnn
from charnn.cli.commands.loading import load_models
from charnn.cli.options import Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.records import aligned
from charnn.config import ComparisonOptions
from charnn.interrupts import terminated_like_interrupted
from charnn.options import pick

if TYPE_CHECKING:
    from charnn.analysis.comparison import Difference, TokenDifference

INTERVAL = "95 % interval of the difference:"


@with_options(ComparisonOptions)
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Directory of the first model.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Directory of the second model.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Texts that neither model was trained on.")],
    *,
    overrides: Overrides,
) -> None:
    """Measure the difference between two models on a text, and its significance: charnn compare runs/a runs/b test.txt."""
    options = pick(ComparisonOptions, overrides)
    models = load_models([first, second])
    same = charnn.api.have_same_vocabulary(models)
    if not same:
        console.notice(
            f"{first} and {second} have different vocabularies: compare their bits per character, not their perplexities"
        )
    with terminated_like_interrupted():
        comparison = charnn.api.compare_files(models, files, options)
    if not same and not options.spell and any(total.num_unknown for total in comparison.totals):
        console.notice(
            "unknown tokens count as <unk> only, which favors the model that has more of them; --spell corrects this"
        )
    difference = comparison.difference(
        num_resamples=options.resamples, seed=options.seed, tolerance=options.tolerance / 100
    )
    score_options, positions = charnn.api.score_options_of(options), comparison.largest_differences()
    if options.format == "json":
        record = _record([first, second], comparison.totals, difference, positions, same=same)
        console.write_json({**record, "protocol": charnn.api.protocol_of(score_options)})
        return
    backward = any(model.architecture.direction == "backward" for model in models)
    noun = "record" if comparison.of_records and options.unit in ("line", "stream") else ""
    protocol = charnn.api.protocol_in_words(
        score_options,
        difference.num_lines,
        noun=noun,
        reads_backward=backward,
        scores_strands=comparison.of_strands,
    )
    unit = noun or ("line" if options.unit == "stream" else options.unit)
    what = "tokens" if same or comparison.of_records else "words"
    names = [first, second]
    _show(names, comparison.totals, difference, positions, same=same, protocol=protocol, unit=unit, what=what)


def _verdict(names: Sequence[str], difference: "Difference", unit: str) -> str:
    change = difference.second - difference.first
    measured = f"{change:+.4f} bits per character ({difference.share:.2%}) for {names[1]}"
    if difference.low is None or difference.high is None:
        return f"{measured}; {console.counted(difference.num_lines, unit)}: too few for a significance test"
    if not difference.is_clear or not difference.is_large:
        verdict = (
            "the difference is not significant"
            if not difference.is_clear
            else "the difference is no larger than between two seeds of one recipe"
        )
        return f"{verdict}: {measured}\n{INTERVAL} {difference.low:+.4f} to {difference.high:+.4f}"
    better = names[1] if change < 0 else names[0]
    least, most = sorted((abs(difference.low), abs(difference.high)))
    return f"{better} is better by {abs(change):.4f} bits per character\n{INTERVAL} {least:.4f} to {most:.4f}"


def _show(
    names: Sequence[str],
    totals: Any,
    difference: "Difference",
    positions: "tuple[list[TokenDifference], list[TokenDifference]]",
    *,
    same: bool,
    protocol: str,
    unit: str,
    what: str,
) -> None:
    cells = [["model", "bits per character", "tokens", "unknown", *(["perplexity"] if same else [])]]
    for name, bits, total in zip(names, (difference.first, difference.second), totals, strict=True):
        counts = [f"{bits:.4f}", f"{total.num_tokens:,}", f"{total.num_unknown:,}"]
        cells.append([name, *counts, *([f"{total.perplexity:.4f}"] if same else [])])
    for line in aligned(cells):
        console.write_line(line)
    console.write_line(protocol)
    console.write_line("")
    console.write_line(_verdict(names, difference, unit))
    for better, some in zip(reversed(names), positions, strict=True):
        if some:
            console.write_line("")
            console.write_line(f"{what} on which {better} gains most, in bits:")
            for line in aligned([["line", *names, "gain", "where"], *map(_position_cells, some)]):
                console.write_line(line)


def _position_cells(position: "TokenDifference") -> list[str]:
    cut = "…" if position.start > len(position.context) else ""
    where = f"{cut}{console.visible_line(position.context)}[{console.visible(position.text)}]"
    return [
        str(position.line),
        f"{position.first_bits:.2f}",
        f"{position.second_bits:.2f}",
        f"{abs(position.gain_bits):.2f}",
        where,
    ]


def _record(
    names: Sequence[str],
    totals: Any,
    difference: "Difference",
    positions: "tuple[list[TokenDifference], list[TokenDifference]]",
    *,
    same: bool,
) -> dict[str, object]:
    def as_record(position: "TokenDifference") -> dict[str, object]:
        return {
            "line": position.line,
            "start": position.start,
            "text": position.text,
            "context": position.context,
            "bits": [position.first_bits, position.second_bits],
        }

    return {
        "models": [{"model": name, **charnn.api.summary(total)} for name, total in zip(names, totals, strict=True)],
        "same_vocabulary": same,
        "bits_per_char_difference": difference.second - difference.first,
        "low": difference.low,
        "high": difference.high,
        "num_lines": difference.num_lines,
        "clear": difference.is_clear,
        "differ": difference.is_clear and difference.is_large,
        "second_better": [as_record(position) for position in positions[0]],
        "first_better": [as_record(position) for position in positions[1]],
    }
