"""Options for the threads and processes that train together."""

from dataclasses import dataclass
from typing import Annotated

from charnn.options import Checked, Option

PARALLEL = "Training"


@dataclass(frozen=True, kw_only=True)
class ParallelOptions(Checked):
    """The threads of a process, and how several processes add their gradients."""

    threads: Annotated[
        int | None,
        Option(
            "Maximum number of training threads of each process; the weights do not depend on it.",
            at_least=1,
            automatic="the number of cores",
            panel=PARALLEL,
        ),
    ] = None
    fast_reduce: Annotated[
        bool,
        Option(
            "With several processes (torchrun), all-reduce gradients instead of adding them in the order of a single process; "
            "the weights then differ in their last digits.",
            panel=PARALLEL,
        ),
    ] = False
