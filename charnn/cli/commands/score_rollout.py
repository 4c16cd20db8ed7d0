"""`charnn score --rollout`: losses after reference and after generated context."""

from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.config import ScoreOptions
from charnn.errors import OptionError

if TYPE_CHECKING:
    from charnn.analysis.exposure_bias import Rollouts
    from charnn.storage.model_directory import Model

COLUMNS = {
    "true": "reference\nafter ref.",
    "true_after_own": "reference\nafter gen.",
    "own": "generated\nafter gen.",
    "judged_own": "generated\nby n-gram",
    "judged_true": "reference\nby n-gram",
}


def show_rollouts(model: "Model", text: str, options: ScoreOptions) -> None:
    """Write the losses by distance, as a table or as records.

    Raises:
        OptionError: for a model of lines or documents, whose samples end with a unit.
    """
    if model.tokenizer.unit != "stream":
        raise OptionError(
            f"--rollout: found a model with --unit {model.tokenizer.unit}, but it needs a stream model; "
            "train one with --unit stream"
        )
    ngrams = None
    if (model.path / charnn.api.NGRAM_FILE).exists():
        ngrams = charnn.api.read_ngrams(
            model.path, model.architecture.vocab_size, tokenizer_sha256=model.tokenizer_sha256
        )
    rollouts = charnn.api.roll_out(
        charnn.api.Engine.of(model), model.tokenizer.encode(text), length=options.rollout, ngrams=ngrams
    )
    records = [
        _record(rollouts, low, high, options.log_base)
        for low, high in [*charnn.api.bands(options.rollout), (1, options.rollout)]
    ]
    if options.format == "table":
        _show_table(records, rollouts.num_rollouts, options.log_base)
    elif options.format == "jsonl":
        for record in records:
            console.write_json(record)
    else:
        console.write_line("\t".join(records[0]))
        for record in records:
            console.write_line("\t".join("" if value is None else f"{value:.10g}" for value in record.values()))


def _record(rollouts: "Rollouts", low: int, high: int, base: str) -> dict[str, object]:
    """Return the mean losses over distances from `low` to `high`."""
    record: dict[str, object] = {"from": low, "to": high}
    for name in COLUMNS:
        losses = getattr(rollouts, name)
        record[name] = None if losses is None else charnn.api.in_base(float(losses[low - 1 : high].mean()), base)
    return record


def _show_table(records: list[dict[str, object]], num_rollouts: int, base: str) -> None:
    unit = {"e": "nats", "2": "bits", "10": "hartleys (base 10)"}[base]
    table = console.new_table()
    table.add_column("distance", justify="right", no_wrap=True)
    for name in COLUMNS.values():
        table.add_column(name, justify="right", no_wrap=True)
    for number, record in enumerate(records):
        low, high = record["from"], record["to"]
        is_total = number == len(records) - 1
        distance = "all" if is_total else str(low) if low == high else f"{low} to {high}"
        values = ["-" if record[name] is None else f"{record[name]:.4f}" for name in COLUMNS]
        table.add_row(distance, *values, end_section=number == len(records) - 2)
    console.show(
        table, caption=f"mean loss of reference and generated tokens in {unit} per token, {num_rollouts} rollouts"
    )
