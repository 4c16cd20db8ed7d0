"""Writes `charnn/config/arguments.py`: `python -m tests.config.write_arguments`."""

import types
from typing import Any, Literal, Union, get_args, get_origin

from charnn.config import (
    InspectOptions,
    ModelOptions,
    ReportOptions,
    SampleOptions,
    ScoreOptions,
    TextOptions,
    TrainingOptions,
)
from charnn.options import declared_options
from tests.conftest import REPOSITORY

FILE = REPOSITORY / "charnn" / "config" / "arguments.py"
SHOWN = {"encoding", "echo", "num_samples", "format", "show_alternatives", "novelty", "forecast", "column"}
"""What says how the command shows samples, or is an argument by itself."""
OTHER_RESULTS = {"weight", "fit_weights", "pairs", "per_pair", "nbest", "lm_scale", "word_penalty", "rollout", "format"}
OTHER_RESULTS |= {"column", "by_region", "label_from"}
GROUPS = {
    "SampleArguments": ("`charnn sample`", (SampleOptions,), SHOWN),
    "ScoreArguments": ("`charnn score`", (ScoreOptions,), OTHER_RESULTS | {"log_base", "by_word"}),
    "TrainArguments": ("`charnn train`", (TextOptions, ModelOptions, TrainingOptions), set()),
    "InspectArguments": ("`charnn inspect`", (InspectOptions,), {"format"}),
    "ReportArguments": ("`charnn report`", (ReportOptions,), set()),
}
WIDER = {("ScoreArguments", "temperature"): "float | str", ("TrainArguments", "cell"): "str"}
"""Types that are wider than those of the command line: numbers need no quotes, and cells may be registered."""
HEADER = '''"""The options of commands as typed keyword arguments, generated from the dataclasses of this package.

Written by `python -m tests.config.write_arguments`; a test checks that it is up to date.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict
'''


def spelled(kind: Any) -> str:
    """Return a type as it is written."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is type(None):
        return "None"
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]".replace("'", '"')
    if origin in (types.UnionType, Union):
        return " | ".join(map(spelled, parts))
    if origin is tuple:
        return f"Sequence[{spelled(parts[0])}]"
    return str(kind.__name__)


def content() -> str:
    """Return the whole file."""
    parts = [HEADER]
    for name, (command, groups, left_out) in GROUPS.items():
        fields = {field: kind for group in groups for field, (kind, _) in declared_options(group).items()}
        types_ = {field: WIDER.get((name, field), spelled(kind)) for field, kind in fields.items()}
        lines = [f"    {field}: {kind}" for field, kind in types_.items() if field not in left_out]
        parts.append(
            f'\n\nclass {name}(TypedDict, total=False):\n    """Options of {command}."""\n\n' + "\n".join(lines) + "\n"
        )
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(content(), encoding="utf-8")
