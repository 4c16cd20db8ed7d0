"""The facts that a model card shows."""

from collections.abc import Sequence

from charnn.storage.model_directory import Model


def model_card(models: Sequence[Model]) -> dict[str, str]:
    """Return the entries of the model card."""
    first = models[0]
    shape, results = first.architecture, first.config.results
    loss = results.valid_loss_nats
    return {
        "directory": ", ".join(str(model.path) for model in models),
        "network": f"{shape.num_layers} x {shape.hidden_size} {shape.cell}",
        "tokens": f"{len(first.tokenizer.vocabulary):,} ({first.tokenizer.kind}, unit {first.tokenizer.unit})",
        "validation": "nothing was held out" if loss is None else f"{loss:.4f} nats per token",
        "training": f"{results.steps:,} steps, {results.seconds:.0f} s",
    }
