"""The page of `charnn report`: an overview of models."""

import math
from collections.abc import Sequence

from markupsafe import Markup

import charnn
from charnn.analysis.baselines import NETWORK
from charnn.analysis.overview import (
    Overview,
    RunComparison,
    RunOverview,
    losses_table,
    options_table,
    results_table,
)
from charnn.analysis.tables import Table
from charnn.report.charts import SERIES, chart, short
from charnn.report.curves import curve_figures
from charnn.report.page import fragment, render
from charnn.report.passages import loss_pictures, passage_markup
from charnn.report.sections import Figures, Picture, Section

Parts = list[str | Markup | Picture | Figures | Table]

TOKENS = {
    "char": "characters",
    "byte": "bytes",
    "word": "words and punctuation marks",
    "pretokenized": "words",
    "subword": "subword tokens",
    "bins": "numbers, by their bins",
}
SHOWN_ORDERS = (4, 8, 16)


def overview_page(overview: Overview) -> str:
    """Return the page."""
    names = ", ".join(run.name for run in overview.runs)
    return render(f"Report on {names}", sections(overview), scripts=["report.js"], where_all="")


def sections(overview: Overview) -> list[Section]:
    """Return the sections; those for which the runs have nothing to show are left out."""
    made = {
        "Summary": _summary(overview),
        "Training": curve_figures(overview.runs),
        "Samples during training": _samples(overview.runs),
        "A passage, token by token": _passages(overview),
        "Where the loss is": _losses(overview),
        "Where the runs differ": _differences(overview),
        "What is copied": _copies(overview.runs),
        "Speed and size": _sizes(overview.runs),
    }
    return [Section(title, parts) for title, parts in made.items() if parts]


def _summary(overview: Overview) -> Parts:
    parts: Parts = [sentence for run in overview.runs for sentence in card(run)]
    parts.append(_predictors(overview.runs, is_shared=overview.is_shared))
    if len(overview.runs) > 1:
        parts += [_by_run(results_table(overview.runs)), options_table(overview.runs)]
    return parts


def card(run: RunOverview) -> list[str]:
    """Return what a model is, and how good, in sentences."""
    config, shape = run.model.config, run.model.architecture
    names = [file.name for file in config.corpus.files]
    files = names[0] if len(names) == 1 else f"{len(names)} files ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
    layers = f"{shape.num_layers} layer{'s' * (shape.num_layers > 1)} of {shape.hidden_size} units"
    learned = (
        f"{run.name} is a recurrent network ({shape.cell}, {layers}, {run.num_parameters:,} parameters). It was trained on "
        f"{config.corpus.train.num_chars:,} characters of {files}, for {config.results.steps:,} steps in "
        f"{_duration(config.results.seconds)}, and predicts {TOKENS[run.model.tokenizer.kind]}, of which its vocabulary has "
        f"{shape.vocab_size:,}."
    )
    if charnn.api.is_model(run.model.path / charnn.api.BACKWARD):
        learned += " It is the forward half of a bidirectional model."
    return [learned, _quality(run)]


def _quality(run: RunOverview) -> str:
    """Return a sentence on the validation loss beside the losses of simpler models."""
    results = run.model.config.results
    if results.valid_loss_nats is None:
        return "Nothing was held out, so it is unknown how well it predicts text that it has not seen."
    network = next(each for each in run.predictors if each.name == NETWORK)
    margin = "" if results.valid_margin_nats is None else f" ± {results.valid_margin_nats:.4f}"
    bits = "" if network.bits_per_char is None else f"{network.bits_per_char:.3f} bits per character, "
    others = [f"{each.name} {each.perplexity:.4g}" for each in run.predictors if each is not network]
    return (
        f"On held-out text, its loss is {results.valid_loss_nats:.4f}{margin} nats per token: {bits}perplexity "
        f"{network.perplexity:.4g}. For comparison, the perplexity of {', '.join(others)}."
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _predictors(runs: Sequence[RunOverview], *, is_shared: bool) -> Picture:
    """Return the losses on the held-out text as bars; those that are the same for all runs once."""
    in_chars = all(each.bits_per_char is not None for run in runs for each in run.predictors)
    unit = "bits per character" if in_chars else "nats per token"
    bars: list[tuple[str, float, str, bool]] = []
    for number, run in enumerate(runs):
        for each in run.predictors:
            value = each.loss_nats if each.bits_per_char is None or not in_chars else each.bits_per_char
            is_common = all(each in other.predictors for other in runs)
            if not is_common or number == 0:
                label = each.name if is_common else f"{each.name}, {short(run.name)}"
                bars.append((label, value, SERIES[number % len(SERIES)], each.name == NETWORK))
    bars.sort(key=lambda bar: -bar[1])
    with chart("Loss on held-out text", width=4.8, height=0.7 + 0.27 * len(bars)) as drawn:
        for row, (_, value, color, is_network) in enumerate(bars):
            drawn.ax.barh(row, value, color=color, alpha=1.0 if is_network else 0.5, height=0.7)
            drawn.ax.annotate(f"{value:.3f}", (value, row), (3, 0), textcoords="offset points", va="center")
        drawn.ax.set_yticks(range(len(bars)), [bar[0] for bar in bars], parse_math=False)
        drawn.ax.invert_yaxis()
        drawn.ax.grid(visible=False, axis="y")
        drawn.ax.margins(x=0.12)
        drawn.ax.set_xlabel(unit)
    caption = (
        f"Loss on held-out text in {unit}: shorter bars are better. By chance, all tokens of the vocabulary are equally "
        "likely; the unigram knows their frequencies, and the n-gram a few tokens of context."
    )
    if not is_shared:
        caption += " The runs have different held-out texts: compare the bars of one run only."
    return Picture(drawn.svg, caption, losses_table(runs))


def _samples(runs: Sequence[RunOverview]) -> Parts:
    """Return the samples that were drawn during training, a slider for each run."""
    parts: Parts = []
    for run in runs:
        if not run.curves.samples:
            continue
        samples = [
            {
                "heading": f"step {each.step:,}, {each.seconds:.0f} s"
                + ("" if each.loss_nats is None else f", validation loss {each.loss_nats:.4f} nats per token"),
                "text": each.sample,
            }
            for each in run.curves.samples
        ]
        parts.append(fragment("samples.html", samples=samples, label=f"Evaluation of {run.name}"))
        if len(runs) > 1:
            parts.insert(-1, run.name)
    if parts:
        parts.insert(0, "What the network wrote at each evaluation, at temperature 0.8.")
    return parts


def _passages(overview: Overview) -> Parts:
    parts: Parts = []
    for run in overview.runs:
        if run.surprisals is None or not run.surprisals.passage:
            continue
        if len(overview.runs) > 1:
            parts.append(run.name)
        parts.append(passage_markup(run))
    if parts:
        parts.insert(
            0,
            f"The beginning of the {overview.origin}. The stronger the color of a token, the less the network expected it, in "
            "bits (surprisal). Point at a token, tap it, or go to it with the arrow keys to see what the network expected.",
        )
        if overview.origin == "held-out text" and not overview.is_shared:
            parts.insert(1, _SEEN.format(overview.runs[0].name))
    return parts


_SEEN = (
    "It was held out from {}. The other runs were trained on other files, and may have seen it: compare them on a text that "
    "is new to all, with --file."
)


def _losses(overview: Overview) -> Parts:
    runs = [run for run in overview.runs if run.surprisals is not None and run.surprisals.num_tokens]
    if not runs:
        return []
    num_tokens = max(run.surprisals.num_tokens for run in runs if run.surprisals)
    text = f"Measured on the first {num_tokens:,} tokens of the {overview.origin}."
    return [text, *loss_pictures(runs)]


def _differences(overview: Overview) -> Parts:
    return [part for each in overview.comparisons for part in _difference(each)]


def _difference(comparison: RunComparison) -> Parts:
    first, second, found = comparison.first, comparison.second, comparison.difference
    interval = "" if found.low is None else f" (95 % interval {found.low:+.4f} to {found.high:+.4f})"
    verdict = "a significant difference" if found.is_clear else "not a significant difference"
    parts: Parts = [
        f"{first} needs {found.first:.4f} bits per character on this text, {second} {found.second:.4f}: "
        f"{found.second - found.first:+.4f}{interval}, {verdict}."
    ]
    if comparison.num_unknown:
        parts.append(
            f"{comparison.num_unknown:,} tokens are unknown to a model, and count as <unk> only, which favors the model that "
            "has more of them; charnn compare --spell corrects this."
        )
    for better, tokens in ((second, comparison.better), (first, comparison.worse)):
        rows = [
            (
                each.line,
                each.context.replace("\n", "⏎"),
                charnn.api.visible(each.text),
                each.first_bits,
                each.second_bits,
            )
            for each in tokens
        ]
        columns = ("line", "context", "token", f"{first}, bits", f"{second}, bits")
        parts.append(Table("tokens", f"Where {better} is better by most", columns, rows))
    return parts


def _copies(runs: Sequence[RunOverview]) -> Parts:
    """Return what samples copy from the training text."""
    parts: Parts = []
    for run in runs:
        if not run.samples:
            continue
        first = run.samples[0].memorization
        if first.held_out_length is not None:
            parts.append(
                f"{run.name}: pieces of {first.piece_length:,} tokens of {first.reference} share at most "
                f"{first.held_out_length:,} consecutive tokens with the rest of the training text."
                if first.reference != "held-out text"
                else f"{run.name}: pieces of {first.piece_length:,} tokens of held-out text share at most "
                f"{first.held_out_length:,} consecutive tokens with the training text."
            )
        parts.append(_copies_table(run))
        for number, sample in enumerate(run.samples, start=1):
            before, span, after = sample.text.partition(sample.span) if sample.span else (sample.text, "", "")
            parts.append(
                Markup(
                    '<details class="copied"><summary>Sample {}, its longest copied span underlined</summary>'
                    '<pre class="text">{}<mark>{}</mark>{}</pre></details>'
                ).format(f"{number} of {run.name}", before, span, after)
            )
    if parts:
        parts.insert(
            0,
            "The longest span of each sample that also occurs in the training text, and the fraction of its n-grams that do; "
            "held-out text says how much is usual for texts of this kind. See charnn sample --novelty.",
        )
    return parts


def _copies_table(run: RunOverview) -> Table:
    verdicts = {True: "yes", False: "not more than usual", None: "unknown"}
    rows = [
        (
            str(number),
            each.memorization.copied.length,
            verdicts[each.memorization.is_copied],
            each.memorization.line,
            *(_percent(each.memorization.copied.shares[order - 1]) for order in SHOWN_ORDERS),
        )
        for number, each in enumerate(run.samples, start=1)
    ]
    usual = run.samples[0].memorization
    if usual.held_out:
        shares = (_percent(usual.held_out_share(order)) for order in SHOWN_ORDERS)
        rows.append((usual.reference, usual.held_out_length or 0, "", None, *shares))
    orders = [f"{order}-grams_%" for order in SHOWN_ORDERS]
    columns = ("sample", "longest_span_tokens", "copied", "training_line", *orders)
    return Table("copies", f"What samples of {run.name} copy from the training text", columns, rows)


def _percent(share: float) -> float | None:
    """Return a fraction in percent, None for that of a text that is too short to have any."""
    return None if math.isnan(share) else 100 * share


def _sizes(runs: Sequence[RunOverview]) -> Parts:
    if len(runs) == 1:
        parts: Parts = [_by_run(results_table(runs))]
    else:
        parts = []
    for run in runs:
        rows = [(file.name, file.num_bytes, file.purpose) for file in run.files]
        parts.append(Table("files", f"Files of {run.name}", ("file", "bytes", "purpose"), rows))
    return parts


def _by_run(table: Table) -> Table:
    """Return a table of runs with a column for each run."""
    names, *columns = zip(*table.rows, strict=True)
    rows = [(name.replace("_", " "), *values) for name, values in zip(table.columns[1:], columns, strict=True)]
    return Table(table.name, table.caption, ("result", *names), rows)
