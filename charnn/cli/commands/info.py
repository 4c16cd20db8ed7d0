"""`charnn info`: what a model is and how it was made."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from charnn.cli.options import COMMON, Given, with_options
from charnn.cli.output import console
from charnn.cli.output.files import show_files


@with_options()
def info(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Model directories.", show_default="the newest under runs/"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object, or for several models a list."), COMMON
    ] = False,
    files: Annotated[
        bool,
        typer.Option("--files", help="Say which files there are, how large, and what for; and what the cache keeps."),
        COMMON,
    ] = False,
    *,
    given: Given,  # noqa: ARG001 (it has no options of its own)
) -> None:
    """Say what a model is, how it was made and how good it is."""
    from charnn.storage.model_directory import find_model, read_config, read_model

    paths = [Path(run) for run in runs] if runs else [find_model(None)]
    if not runs:
        console.notice(f"taking the newest model, {paths[0]}")
    if files:
        for path in paths:
            read_config(path)  # says so where it is no model
        show_files(paths, json=json)
        return
    facts = [_facts(path, read_model(path).config) for path in paths]
    if json:
        console.write_json(facts[0] if len(facts) == 1 else facts)
        return

    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True, min_width=max(map(len, facts[0])))
    for path in paths:
        table.add_column(str(path), overflow="fold")
    for name in facts[0]:
        table.add_row(name, *(_shown(fact[name]) for fact in facts))
    console.show(table)


def _facts(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    from charnn.config import Architecture
    from charnn.storage.model_directory import expected_shapes

    shape, results, corpus = config["architecture"], config["results"], config["corpus"]
    options = config["options"]
    loss, valid = results["valid_loss_nats"], corpus["valid"]
    in_bits_per_char = valid["num_tokens"] / valid["num_chars"] / math.log(2) if valid["num_chars"] else None
    return {
        "run": str(path),
        "valid_loss_nats": loss,
        "valid_loss_cold_nats": results.get("valid_loss_cold_nats"),
        "ngram_loss_nats": results.get("ngram_loss_nats"),
        "ngram_order": results.get("ngram_order", 0),
        "mixture_loss_nats": results.get("mixture_loss_nats"),
        "backward_valid_loss_nats": _backward_loss(path),
        "temperature": results.get("temperature", 1.0),
        "valid_perplexity": None if loss is None else math.exp(loss),
        "valid_bits_per_char": None if loss is None or in_bits_per_char is None else loss * in_bits_per_char,
        "valid_num_tokens": results["valid_num_tokens"],
        "valid_num_unknown": valid["num_unknown"],
        "num_parameters": sum(math.prod(size) for size in expected_shapes(Architecture(**shape)).values()),
        "cell": shape["cell"],
        "direction": shape.get("direction", "forward"),
        "num_layers": shape["num_layers"],
        "hidden_size": shape["hidden_size"],
        "embedding_size": shape["embedding_size"],
        "inputs": shape.get("inputs", "embedding"),
        "skip": shape.get("skip", 0),
        "residual": shape.get("residual", False),
        "embedding_order": shape.get("embedding_order", 1),
        "tie_weights": shape["tie_weights"],
        "tokenizer": options["text"]["tokenizer"],
        "vocab_size": shape["vocab_size"],
        "unit": options["text"]["unit"],
        "train_num_tokens": corpus["train"]["num_tokens"],
        "train_num_chars": corpus["train"]["num_chars"],
        "recipe": config.get("recipe"),
        "files": [f"{file['name']} ({_num_bytes(file)}, sha256 {file['sha256'][:12]})" for file in corpus["files"]],
        "steps": results["steps"],
        "best_step": results["best_step"],
        "seconds": results["seconds"],
        "stopped": results["stopped"],
        "optimizer": options["training"]["optimizer"],
        "schedule": options["training"].get("schedule") or "linear",
        "learning_rate": options["training"]["learning_rate"],
        "batch_size": options["training"]["batch_size"],
        "bptt_length": options["training"]["bptt_length"],
        "dropout": options["training"]["dropout"],
        "dropout_kind": options["training"].get("dropout_kind", "locked"),
        "ngram_dropout": options["training"].get("ngram_dropout", 0.0),
        "weight_drop": options["training"].get("weight_drop", 0.0),
        "token_noise": options["training"].get("token_noise", 0.0),
        "teacher_forcing": options["training"].get("teacher_forcing", 1.0),
        "device": config["plan"]["device"],
        "precision": config["plan"]["precision"],
        "seed": config["seed"],
        "charnn_version": config["charnn_version"],
        "torch_version": config["torch_version"],
        "python_version": config["python_version"],
    }


def _num_bytes(file: dict[str, Any]) -> str:
    """Return how much of a text was read."""
    whole = file.get("of_bytes")
    return f"{file['num_bytes']:,} bytes" if whole is None else f"the first {file['num_bytes']:,} of {whole:,} bytes"


def _backward_loss(path: Path) -> float | None:
    """Return the validation loss of the other half of a pair, or None where there is none."""
    from charnn.storage.model_directory import BACKWARD, is_model, read_config

    if not is_model(path / BACKWARD):
        return None
    loss: float | None = read_config(path / BACKWARD)["results"]["valid_loss_nats"]
    return loss


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) >= 0.1 else f"{value:.4g}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)
