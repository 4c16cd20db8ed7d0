"""`charnn compare`: two models on one text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

import charnn
from charnn.cli.commands.loading import load_models
from charnn.cli.options import Given, with_options
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
    first: Annotated[str, typer.Argument(metavar="A", help="The directory of a model.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The directory of another.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Texts that neither was trained on.")],
    *,
    given: Given,
) -> None:
    """Say by how much two models differ on a text, and whether it may be chance: charnn compare runs/a runs/b held_out.txt."""
    options = pick(ComparisonOptions, given)
    models = load_models([first, second])
    same = charnn.api.have_same_vocabulary(models)
    if not same:
        console.notice(
            f"{first} and {second} have different vocabularies: their perplexities cannot be compared, bits per character can"
        )
    with terminated_like_interrupted():
        comparison = charnn.api.compare_files(models, files, options)
    if not same and not options.spell and any(total.num_unknown for total in comparison.totals):
        console.notice(
            "unknown tokens count as <unk> only, which favours the model that has more of them; --spell is fair"
        )
    found = comparison.difference(num_resamples=options.resamples, seed=options.seed, tolerance=options.tolerance / 100)
    if options.format == "json":
        console.write_json(
            _record([first, second], comparison.totals, found, comparison.largest_differences(), same=same)
        )
    else:
        _show([first, second], comparison.totals, found, comparison.largest_differences(), same=same)


def _verdict(names: Sequence[str], found: "Difference") -> str:
    difference = found.second - found.first
    needs = f"{names[1]} needs {difference:+.4f} bits per character ({found.share:.2%})"
    if found.low is None or found.high is None:
        return f"{needs}; {found.num_lines} lines are too few to say whether that is chance"
    if not found.is_clear or not found.is_large:
        reason = (
            "more than the choice of the text explains"
            if not found.is_clear
            else "more than two seeds of one recipe may"
        )
        return f"they do not differ by {reason}: {needs}\n{INTERVAL} {found.low:+.4f} to {found.high:+.4f}"
    better = names[1] if difference < 0 else names[0]
    least, most = sorted((abs(found.low), abs(found.high)))
    return f"{better} is better by {abs(difference):.4f} bits per character\n{INTERVAL} {least:.4f} to {most:.4f}"


def _show(
    names: Sequence[str],
    totals: Any,
    found: "Difference",
    places: "tuple[list[TokenDifference], list[TokenDifference]]",
    *,
    same: bool,
) -> None:
    cells = [["model", "bits per character", "tokens", "unknown", *(["perplexity"] if same else [])]]
    for name, bits, total in zip(names, (found.first, found.second), totals, strict=True):
        figures = [f"{bits:.4f}", f"{total.num_tokens:,}", f"{total.num_unknown:,}"]
        cells.append([name, *figures, *([f"{total.perplexity:.4f}"] if same else [])])
    for line in aligned(cells):
        console.write_line(line)
    console.write_line("")
    console.write_line(_verdict(names, found))
    what = "tokens" if same else "words"
    for better, some in zip(reversed(names), places, strict=True):
        if some:
            console.write_line("")
            console.write_line(f"{what} on which {better} gains most, in bits:")
            for line in aligned([["line", *names, "gain", "where"], *map(_place_cells, some)]):
                console.write_line(line)


def _place_cells(place: "TokenDifference") -> list[str]:
    cut = "…" if place.start > len(place.context) else ""
    where = f"{cut}{console.visible_line(place.context)}[{console.visible(place.text)}]"
    return [
        str(place.line),
        f"{place.first_bits:.2f}",
        f"{place.second_bits:.2f}",
        f"{abs(place.gain_bits):.2f}",
        where,
    ]


def _record(
    names: Sequence[str],
    totals: Any,
    found: "Difference",
    places: "tuple[list[TokenDifference], list[TokenDifference]]",
    *,
    same: bool,
) -> dict[str, Any]:
    def as_record(place: "TokenDifference") -> dict[str, Any]:
        return {
            "line": place.line,
            "start": place.start,
            "text": place.text,
            "context": place.context,
            "bits": [place.first_bits, place.second_bits],
        }

    return {
        "models": [{"model": name, **charnn.api.summary(total)} for name, total in zip(names, totals, strict=True)],
        "same_vocabulary": same,
        "bits_per_char_difference": found.second - found.first,
        "low": found.low,
        "high": found.high,
        "num_lines": found.num_lines,
        "clear": found.is_clear,
        "differ": found.is_clear and found.is_large,
        "second_better": [as_record(place) for place in places[0]],
        "first_better": [as_record(place) for place in places[1]],
    }
