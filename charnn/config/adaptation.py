"""Options for adapting a model to the text that it scores: dynamic evaluation and the neural cache."""

from dataclasses import dataclass
from typing import Annotated

from charnn.options import Checked, Option, refuse_both, refuse_unused

ADAPTATION = "Adaptation"
CACHE_SIZE = 2000


@dataclass(frozen=True, kw_only=True)
class WrittenAdaptationOptions(Checked):
    """Adaptation of a model to the text that it continues."""

    adapt: Annotated[
        bool,
        Option(
            "Learn from the prompt and the text.",
            panel=ADAPTATION,
            common=True,
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class AdaptationOptions(Checked):
    """Adaptation of a model to the text that it scores."""

    adapt: Annotated[
        bool,
        Option(
            "Learn while reading: mix counts of the training text and of what was read with the network, which is adapted "
            "by --dynamic.",
            panel=ADAPTATION,
            common=True,
        ),
    ] = False
    dynamic: Annotated[
        bool | None,
        Option(
            "Dynamic evaluation: gradient steps on the scored text (needs torch).",
            panel=ADAPTATION,
            common=True,
            automatic="no; with --adapt yes, if torch is installed",
        ),
    ] = None
    dynamic_stretch: Annotated[
        int | None,
        Option(
            "Segment length: tokens scored before each update of the weights.",
            at_least=1,
            automatic="20 (char, byte), 5 (word, subword)",
            panel=ADAPTATION,
        ),
    ] = None
    dynamic_rate: Annotated[
        float | None,
        Option(
            "Learning rate of dynamic evaluation.",
            at_least=0,
            automatic="fitted on the held-out text",
            panel=ADAPTATION,
        ),
    ] = None
    dynamic_decay: Annotated[
        float | None,
        Option(
            "Decay of the weights toward the trained weights.",
            at_least=0,
            below=1,
            automatic="fitted on the held-out text",
            panel=ADAPTATION,
        ),
    ] = None
    cache: Annotated[
        bool,
        Option("Neural cache: favor tokens that followed similar hidden states.", panel=ADAPTATION, common=True),
    ] = False
    cache_size: Annotated[
        int | None,
        Option("Number of past tokens in the cache.", at_least=1, automatic=str(CACHE_SIZE), panel=ADAPTATION),
    ] = None
    cache_weight: Annotated[
        float | None,
        Option(
            "Interpolation weight of the cache.",
            at_least=0,
            below=1,
            automatic="fitted on the held-out text",
            panel=ADAPTATION,
        ),
    ] = None
    cache_sharpness: Annotated[
        float | None,
        Option(
            "Flattening parameter theta of the cache; 0 weights all states equally.",
            at_least=0,
            automatic="fitted on the held-out text",
            panel=ADAPTATION,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect without the technique that they belong to."""
        super().__post_init__()
        for flag, is_set in {
            "--cache-size": self.cache_size is not None,
            "--cache-weight": self.cache_weight is not None,
            "--cache-sharpness": self.cache_sharpness is not None,
        }.items():
            refuse_unused(flag, is_set and not self.cache, "--cache")
        for flag, is_set in {
            "--dynamic-stretch": self.dynamic_stretch is not None,
            "--dynamic-rate": self.dynamic_rate is not None,
            "--dynamic-decay": self.dynamic_decay is not None,
        }.items():
            refuse_unused(flag, is_set and not self.dynamic and not self.may_be_dynamic, "--dynamic")
        refuse_both("--cache", self.cache and bool(self.dynamic), "--dynamic")

    @property
    def adaptations(self) -> dict[str, bool]:
        """Whether each technique is used, by its flag."""
        return {"--adapt": self.adapt, "--dynamic": bool(self.dynamic), "--cache": self.cache}

    @property
    def may_be_dynamic(self) -> bool:
        """Whether dynamic evaluation is part of `--adapt`, where it is possible."""
        return self.adapt and self.dynamic is None and not self.cache
