"""`charnn info`: a model's architecture, training and metrics."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.facts_table import show_facts
from charnn.cli.output.files import show_files

if TYPE_CHECKING:
    from charnn.storage.run_config import RunConfig
    from charnn.text.facts import TextFile

LOSS_UNIT = " nats/token"
LABELS = {
    "charnn_version": "charnn",
    "torch_version": "torch",
    "python_version": "Python",
    "seed": "seed",
    "device": "device",
    "precision": "precision",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "learning_rate": "peak learning rate",
    "batch_size": "batch size",
    "bptt_length": "BPTT length",
    "dropout": "dropout",
    "dropout_kind": "dropout kind",
    "ngram_dropout": "n-gram dropout",
    "weight_drop": "weight drop",
    "token_noise": "token noise",
    "teacher_forcing": "teacher forcing",
    "recipe": "recipe",
    "parent": "initialized from",
    "frozen": "frozen",
    "direction": "direction",
    "embedding_size": "embedding size",
    "inputs": "inputs",
    "skip": "skip connection",
    "residual": "residual connections",
    "attention_window": "attention",
    "embedding_order": "input n-gram order",
    "tie_weights": "tied embeddings",
    "files": "files",
    "train_num_chars": "training characters",
    "best_step": "best step",
    "stopped": "stopped by",
    "ngram_order": "n-gram order",
    "temperature": "fitted temperature",
    "vocab_size": "vocabulary",
    "unit": "unit",
    "held_out_num_tokens": "held-out tokens",
    "run": "model directory",
    "cell": "cell",
    "num_layers": "layers",
    "reverse_complement": "both strands",
    "hidden_size": "hidden size",
    "num_parameters": "parameters",
    "tokenizer": "tokenizer",
    "train_num_tokens": "training tokens",
    "steps": "steps",
    "seconds": "training time",
    "valid_num_tokens": "validation tokens",
    "valid_num_unknown": "unknown held-out tokens",
    "valid_protocol": "validation",
    "labels": "labels",
    "label_accuracy": "accuracy of labels",
    "valid_loss_cold_nats": "fixed-window loss",
    "ngram_loss_nats": "n-gram loss",
    "mixture_loss_nats": "interpolated loss",
    "old_loss_before_nats": "loss on old text, before",
    "old_loss_nats": "loss on old text, after",
    "backward_valid_loss_nats": "backward validation loss",
    "valid_margin_nats": "95 % interval, ±",
    "valid_bits_per_char": "validation bits/char",
    "valid_bits_per_value": "validation bits/value",
    "valid_perplexity": "validation perplexity",
    "valid_loss_nats": "validation loss",
}
"""The table's label for each key of `--json`, in the table's order: a terminal shows the end of it."""
OMITTED = (
    "reverse_complement",
    "recipe",
    "parent",
    "frozen",
    "old_loss_before_nats",
    "old_loss_nats",
    "backward_valid_loss_nats",
    "labels",
    "label_accuracy",
    "valid_bits_per_value",
)
"""Rows that are omitted if no model has a value."""
MAX_FILES, MAX_LABELS = 3, 4
UNITS = {
    "valid_loss_nats": LOSS_UNIT,
    "valid_margin_nats": LOSS_UNIT,
    "valid_loss_cold_nats": LOSS_UNIT,
    "ngram_loss_nats": LOSS_UNIT,
    "mixture_loss_nats": LOSS_UNIT,
    "old_loss_before_nats": LOSS_UNIT,
    "old_loss_nats": LOSS_UNIT,
    "backward_valid_loss_nats": LOSS_UNIT,
    "skip": " steps",
    "attention_window": " positions",
    "vocab_size": " tokens",
    "seconds": " s",
    "bptt_length": " tokens",
}


@with_options()
def info(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Model directories.", show_default="the newest under runs/"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object, or a list for several models."), COMMON
    ] = False,
    files: Annotated[
        bool,
        typer.Option("--files", help="List the files of a model and of the cache, with their size and purpose."),
        COMMON,
    ] = False,
    *,
    overrides: Overrides,  # noqa: ARG001 (it has no options of its own)
) -> None:
    """Describe a model: its architecture, training and metrics."""
    paths = [Path(run) for run in runs] if runs else [charnn.api.find_model(None)]
    if not runs:
        console.notice(f"using the newest model, {paths[0]}")
    if files:
        for path in paths:
            charnn.api.read_config(path)  # raises ModelError if it is not a model
        show_files(paths, json=json)
        return
    facts = [_facts(path, charnn.api.read_model(path).config) for path in paths]
    if json:
        console.write_json(facts[0] if len(facts) == 1 else facts)
        return
    shown = {
        label: [_cell(name, fact) for fact in facts]
        for name, label in LABELS.items()
        if name not in OMITTED or any(fact[name] is not None for fact in facts)
    }
    show_facts([str(path) for path in paths], shown)


def _facts(path: Path, config: "RunConfig") -> dict[str, object]:
    shape, results, corpus = config.architecture, config.results, config.corpus
    text, training, parent = config.asked.text, config.training, config.parent
    loss, valid = results.valid_loss_nats, corpus.valid
    counts = charnn.api.parameter_counts(shape)
    of_numbers = text.tokenizer == "bins"
    in_bits_per_char = valid.num_tokens / valid.num_chars / math.log(2) if valid.num_chars and not of_numbers else None
    return {
        "run": str(path),
        "valid_loss_nats": loss,
        "valid_margin_nats": results.valid_margin_nats,
        "valid_loss_cold_nats": results.valid_loss_cold_nats,
        "ngram_loss_nats": results.ngram_loss_nats,
        "ngram_order": results.ngram_order,
        "mixture_loss_nats": results.mixture_loss_nats,
        "old_loss_before_nats": results.old_loss_before_nats,
        "old_loss_nats": results.old_loss_nats,
        "backward_valid_loss_nats": _backward_loss(path),
        "temperature": results.temperature,
        "valid_perplexity": None if loss is None else charnn.api.perplexity(loss),
        "valid_bits_per_char": None if loss is None or in_bits_per_char is None else loss * in_bits_per_char,
        "valid_bits_per_value": loss / math.log(2) if of_numbers and loss is not None else None,
        "valid_num_tokens": results.valid_num_tokens,
        "held_out_num_tokens": valid.num_tokens,
        "valid_num_unknown": valid.num_unknown,
        "valid_protocol": None if loss is None else charnn.api.validation_protocol(text.unit),
        "num_parameters": sum(counts),
        "num_ngram_embedding_parameters": counts.ngram_embeddings,
        "cell": shape.cell,
        "direction": shape.direction,
        "num_layers": shape.num_layers,
        "hidden_size": shape.hidden_size,
        "embedding_size": shape.embedding_size,
        "inputs": shape.inputs,
        "skip": shape.skip,
        "residual": shape.residual,
        "attention_window": shape.attention_window,
        "embedding_order": shape.embedding_order,
        "tie_weights": shape.tie_weights,
        "tokenizer": text.tokenizer,
        "vocab_size": shape.vocab_size,
        "unit": text.unit,
        "reverse_complement": text.reverse_complement or None,
        "train_num_tokens": corpus.train.num_tokens,
        "train_num_chars": corpus.train.num_chars,
        "labels": {each.name: each.num_train for each in corpus.labels} or None,
        "label_accuracy": results.label_accuracy,
        "label_majority": results.label_majority,
        "label_num_units": results.label_num_units,
        "label_network_weight": results.label_network_weight,
        "label_ngram_weight": results.label_ngram_weight,
        "label_mixture_loss_nats": results.label_mixture_loss_nats,
        "recipe": config.recipe,
        "parent": parent and f"{parent.path}, step {parent.generation:,} (sha256 {parent.sha256[:12]})",
        "frozen": training.freeze,
        "files": [f"{file.name} ({_num_bytes(file)}, sha256 {file.sha256[:12]})" for file in corpus.files],
        "steps": results.steps,
        "best_step": results.best_step,
        "seconds": results.seconds,
        "stopped": results.stopped,
        "optimizer": training.optimizer,
        "schedule": training.schedule or "linear",
        "learning_rate": training.learning_rate,
        "batch_size": training.batch_size,
        "bptt_length": training.bptt_length,
        "dropout": training.dropout,
        "dropout_kind": training.dropout_kind,
        "ngram_dropout": training.ngram_dropout,
        "weight_drop": training.weight_drop,
        "token_noise": training.token_noise,
        "teacher_forcing": training.teacher_forcing,
        "device": config.plan.device,
        "precision": config.plan.precision,
        "seed": config.seed,
        "charnn_version": config.versions.charnn,
        "torch_version": config.versions.torch,
        "python_version": config.versions.python,
    }


def _num_bytes(file: "TextFile") -> str:
    """Return the number of bytes that were read from a file."""
    if file.of_bytes is None:
        return f"{file.num_bytes:,} bytes"
    return f"the first {file.num_bytes:,} of {file.of_bytes:,} bytes"


def _backward_loss(path: Path) -> float | None:
    """Return the validation loss of the backward half of a bidirectional model, or None if there is none."""
    backward = path / charnn.api.BACKWARD
    return charnn.api.read_config(backward).results.valid_loss_nats if charnn.api.is_model(backward) else None


def _cell(name: str, facts: dict[str, Any]) -> str:
    """Return what the table shows for a key."""
    if name == "num_parameters":
        num_others = facts["num_ngram_embedding_parameters"]
        others = f" + {num_others:,} in n-gram embeddings" if num_others else ""
        return f"{facts[name] - num_others:,}{others}"
    if name == "valid_protocol" and facts[name] is not None:
        return charnn.api.validation_in_words(
            facts["unit"], num_tokens=facts["valid_num_tokens"], num_held_out=facts["held_out_num_tokens"]
        )
    if name == "labels" and facts[name] is not None:
        return _few_labels(facts[name])
    if name == "label_accuracy" and facts[name] is not None:
        units = f"{facts['label_num_units']:,} held-out units"
        return f"{facts[name]:.1%} of {units}; most frequent label: {facts['label_majority']:.1%}"
    if name == "files":
        return _few(facts[name])
    return _with_unit(name, facts[name])


def _few_labels(labels: dict[str, int]) -> str:
    """Return the most frequent labels with their numbers of units, and how many others there are."""
    first = [f"{name} ({number:,})" for name, number in list(labels.items())[:MAX_LABELS]]
    others = len(labels) - MAX_LABELS
    more = f" and {console.counted(others, 'other')} (--json lists them all)" if others > 0 else ""
    return ", ".join(first) + more


def _few(files: list[str]) -> str:
    """Return the first files, and how many others there are."""
    others = len(files) - MAX_FILES
    counted = [f"and {console.counted(others, 'other')} (--json lists them all)"] if others > 0 else []
    return "\n".join([*files[:MAX_FILES], *counted])


def _with_unit(name: str, value: Any) -> str:
    if name in ("skip", "attention_window") and not value:
        return "none"
    shown = f"{value:,.1f}" if name == "seconds" else _shown(value)
    return shown + ("" if value is None else UNITS.get(name, ""))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) >= 0.1 else f"{value:.4g}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)
