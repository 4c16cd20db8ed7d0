"""Options that make each other idle, across their groups."""

from charnn.config.model import ModelOptions
from charnn.config.text import TextOptions
from charnn.config.training import TrainingOptions
from charnn.errors import IdleOptionError
from charnn.options import OptionValues, declared_options, flags_of, pick, refuse_idle

GROUPS = (TextOptions, ModelOptions, TrainingOptions)
OF_AN_OPTIMIZER = ("learning_rate", "weight_decay", "schedule", "warmup", "hold", "final_rate")


def check_together(text: TextOptions, model: ModelOptions, training: TrainingOptions) -> None:
    """Refuse options that those of another group leave nothing to do.

    Raises:
        IdleOptionError: naming the option and what it needs.
    """
    refuse_idle("--carry", training.carry_length is not None and text.unit != "stream", "--unit stream")
    if model.cell in ("mingru", "minlstm"):
        needed = "a cell that has recurrent matrices"
        refuse_idle("--weight-drop", training.weight_drop > 0, needed)
        refuse_idle("--dropout-kind variational", training.dropout_kind == "variational", needed)
    one_layer = model.num_layers == 1 and training.dropout_kind != "variational"
    refuse_idle("--hidden-dropout", one_layer and bool(training.hidden_dropout), "--num-layers 2 or more")


def settle(recipe: OptionValues, given: OptionValues) -> tuple[OptionValues, list[str]]:
    """Let options that a user gave override those of a recipe, and leave out what is idle beside them.

    Args:
        recipe, given: options by field name.

    Returns:
        The options together, and the flags of those that were left out.

    Raises:
        OptionError: for a value out of bounds, or an option of the user's own that would do nothing.
    """
    kept = {name: value for name, value in recipe.items() if name not in given}
    idle: list[str] = []
    if "optimizer" in given and given["optimizer"] != recipe.get("optimizer"):
        idle += [name for name in OF_AN_OPTIMIZER if name in kept]
    while True:
        settled = {**{name: value for name, value in kept.items() if name not in idle}, **given}
        try:
            check_together(*(pick(group, settled) for group in GROUPS))  # type: ignore[arg-type]
        except IdleOptionError as error:
            named = [name for name in kept if _flag(name) in error.flags and name not in idle]
            if not named:
                raise
            idle += named
        else:
            return settled, [_flag(name) for name in idle]


def _flag(field: str) -> str:
    declared = {name: option for group in GROUPS for name, (_, option) in declared_options(group).items()}
    return flags_of(field, declared[field])[-1]
