"""Compatibility of options across their groups."""

from charnn.config.model import ModelOptions
from charnn.config.regularization import ATTENTION_DROPOUT
from charnn.config.text import TextOptions
from charnn.config.training import TrainingOptions
from charnn.errors import UnusedOptionError
from charnn.options import OptionValues, declared_options, flags_of, pick, refuse_both, refuse_unused

GROUPS = (TextOptions, ModelOptions, TrainingOptions)
OPTIMIZER_OPTIONS = ("learning_rate", "weight_decay", "schedule", "warmup", "hold", "final_rate")


def check_compatibility(text: TextOptions, model: ModelOptions, training: TrainingOptions) -> None:
    """Refuse options that have no effect given those of another group.

    Raises:
        UnusedOptionError: naming the option and what it needs.
    """
    refuse_unused("--carry", training.carry_length is not None and text.unit != "stream", "--unit stream")
    _check_labels(text, model, training)
    if model.cell in ("mingru", "minlstm"):
        needed = "a cell that has recurrent matrices"
        refuse_unused("--weight-drop", training.weight_drop > 0, needed)
        refuse_unused("--dropout-kind variational", training.dropout_kind == "variational", needed)
    has_dropout = training.attention_dropout != ATTENTION_DROPOUT
    refuse_unused("--attention-dropout", has_dropout and model.attention == "none", "--attention single")
    one_layer = model.num_layers == 1 and training.dropout_kind != "variational"
    refuse_unused("--hidden-dropout", one_layer and bool(training.hidden_dropout), "--num-layers 2 or more")


def _check_labels(text: TextOptions, model: ModelOptions, training: TrainingOptions) -> None:
    has_labels = text.label_from is not None
    refuse_both("--label-from", has_labels and model.inputs == "one-hot", "--inputs one-hot, which has no embedding")
    refuse_both("--label-from", has_labels and model.tie_weights, "--tie-weights")
    refuse_both("--label-from", has_labels and model.direction != "forward", f"--direction {model.direction}")
    refuse_both("--label-from", has_labels and training.init_from is not None, "--init-from")


def merge_recipe(recipe: OptionValues, overrides: OptionValues) -> tuple[OptionValues, list[str]]:
    """Override the options of a recipe, and leave out those of the recipe that then have no effect.

    Args:
        recipe, overrides: options by field name.

    Returns:
        The merged options, and the flags of those that were left out.

    Raises:
        OptionError: for a value out of bounds, or an override that has no effect.
    """
    remaining = {name: value for name, value in recipe.items() if name not in overrides}
    unused: list[str] = []
    if "optimizer" in overrides and overrides["optimizer"] != recipe.get("optimizer"):
        unused += [name for name in OPTIMIZER_OPTIONS if name in remaining]
    while True:
        merged = {**{name: value for name, value in remaining.items() if name not in unused}, **overrides}
        try:
            check_compatibility(*(pick(group, merged) for group in GROUPS))  # type: ignore[arg-type]
        except UnusedOptionError as error:
            new = [name for name in remaining if _flag(name) in error.flags and name not in unused]
            if not new:
                raise
            unused += new
        else:
            return merged, [_flag(name) for name in unused]


def _flag(field: str) -> str:
    declared = {name: option for group in GROUPS for name, (_, option) in declared_options(group).items()}
    return flags_of(field, declared[field])[-1]
