"""Scoring options: text, models, unknown tokens, adaptation, comparison, output."""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from charnn.config.adaptation import AdaptationOptions
from charnn.config.labels import SCORED_TEXT, ScoredLabelOptions
from charnn.config.model import Direction
from charnn.config.sampling import Device, MixNgram
from charnn.config.text import ScoredUnit
from charnn.errors import OptionError
from charnn.options import Checked, Option, OptionValues, refuse_all, refuse_both, refuse_unused, with_values

ScoreFormat = Literal["table", "tsv", "jsonl", "kenlm", "srilm", "lmzoo", "neural-complexity"]
LOG_OF_BASE = {"e": 1.0, "2": math.log(2), "10": math.log(10)}
BASE_OF_FORMAT = {"kenlm": "10", "srilm": "10", "lmzoo": "2", "neural-complexity": "2"}
"""Output formats of other programs, and their logarithm bases."""
FIT = "fit"
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0

TEXT, SCORERS, UNKNOWN = SCORED_TEXT, "Models", "Unknown words"
COMPARISON, OUTPUT = "Comparison", "Output"


@dataclass(frozen=True, kw_only=True)
class ScoredTextOptions(Checked):
    """The text that is scored."""

    column: Annotated[
        tuple[str, ...],
        Option(
            "Read FILE as CSV, TSV or JSON lines, and score this column; may be repeated (see --by-region).",
            panel=TEXT,
            common=True,
            metavar="NAME",
        ),
    ] = ()
    by_region: Annotated[
        bool,
        Option("Treat the columns, in the order given, as regions of one sentence; one record per region.", panel=TEXT),
    ] = False
    unit: Annotated[
        ScoredUnit,
        Option(
            "A record is a line, a blank-line-separated document, a tune (of .abc by models of tunes), a file, or the text.",
            panel=TEXT,
            common=True,
        ),
    ] = "line"
    state: Annotated[
        Literal["reset", "carry"],
        Option("Start each unit from the initial state (reset), or carry the hidden state over (carry).", panel=TEXT),
    ] = "reset"
    bos: Annotated[bool, Option("Score the first token, with the boundary as its context.", panel=TEXT)] = True
    eos: Annotated[bool, Option("Score the boundary that closes a unit.", panel=TEXT)] = True
    encoding: Annotated[str, Option("The encoding of the text files.", panel=TEXT, metavar="NAME")] = "utf-8"


@dataclass(frozen=True, kw_only=True)
class ScorerOptions(Checked):
    """The models that score, and how they are combined."""

    weight: Annotated[
        tuple[float, ...],
        Option(
            "Interpolation weight of a model; one per -m, in the same order.",
            flags=("-w", "--weight"),
            above=0,
            panel=SCORERS,
        ),
    ] = ()
    fit_weights: Annotated[
        str | None,
        Option(
            "Fit the weights to maximize the probability of this file.",
            automatic="equal weights unless -w",
            panel=SCORERS,
            metavar="FILE",
        ),
    ] = None
    mix_ngram: MixNgram = False
    direction: Annotated[
        Direction | None,
        Option(
            "Direction of a bidirectional model to score with; both averages the two log probabilities.",
            automatic="the model's own, or forward",
            panel=SCORERS,
        ),
    ] = None
    temperature: Annotated[
        str,
        Option(
            "Softmax temperature: a number, or fit to minimize the loss on the model's held-out text.",
            flags=("-t", "--temperature"),
            panel=SCORERS,
            metavar="X",
        ),
    ] = "1"
    device: Annotated[Device, Option("Device for the network; cuda needs torch and a GPU.", panel=SCORERS)] = "cpu"


@dataclass(frozen=True, kw_only=True)
class UnknownOptions(Checked):
    """Unknown tokens."""

    exclude_unk: Annotated[
        bool, Option("Exclude unknown tokens from all sums and counts; they still serve as context.", panel=UNKNOWN)
    ] = False
    unk_penalty: Annotated[
        float | None,
        Option(
            "Log probability of each unknown token, in the base of --log-base.",
            at_most=0,
            automatic="the model's own for <unk>",
            panel=UNKNOWN,
        ),
    ] = None
    spell: Annotated[
        bool,
        Option("Multiply the probability of <unk> by the probability of the spelling.", panel=UNKNOWN),
    ] = False


@dataclass(frozen=True, kw_only=True)
class SentenceComparisonOptions(Checked):
    """Comparison of sentences."""

    pairs: Annotated[
        str | None,
        Option(
            "Score minimal pairs: a TSV or CSV file with columns good, bad, optionally prefix, and categories.",
            automatic="none",
            panel=COMPARISON,
            common=True,
            metavar="FILE",
        ),
    ] = None
    per_pair: Annotated[bool, Option("Print the margin of each pair.", panel=COMPARISON)] = False
    nbest: Annotated[
        str | None,
        Option("Rescore an n-best list: ID, score, text (TSV).", automatic="none", panel=COMPARISON, metavar="FILE"),
    ] = None
    lm_scale: Annotated[
        float | None,
        Option(
            "Select the best hypothesis of each ID by its score plus the model's log probability times this scale.",
            at_least=0,
            automatic="no selection, only log probabilities",
            panel=COMPARISON,
        ),
    ] = None
    word_penalty: Annotated[float, Option("Added to the score of a hypothesis for each word.", panel=COMPARISON)] = 0.0


@dataclass(frozen=True, kw_only=True)
class ScoreOutputOptions(Checked):
    """Output of the scores."""

    format: Annotated[ScoreFormat, Option("Output format of the records.", panel=OUTPUT, common=True)] = "table"
    log_base: Annotated[
        Literal["e", "2", "10"],
        Option("Base of the logarithms (kenlm, srilm: 10; lmzoo, neural-complexity: 2).", panel=OUTPUT, common=True),
    ] = "e"
    per_token: Annotated[
        bool,
        Option("Show each token's log probability, rank, entropy and entropy reduction.", panel=OUTPUT, common=True),
    ] = False
    alternatives: Annotated[
        int,
        Option("With --per-token, show this many of the most probable tokens.", at_least=0, panel=OUTPUT),
    ] = 0
    by_word: Annotated[
        bool, Option("Sum over the tokens of each white-space-separated word.", panel=OUTPUT, common=True)
    ] = False
    spaces: Annotated[
        Literal["before", "after"],
        Option(
            "With --by-word or --by-region, count with a word or region the white space before or after it.",
            panel=OUTPUT,
        ),
    ] = "before"
    rollout: Annotated[
        int,
        Option("Measure exposure bias along rollouts of this many tokens; 0 for none.", at_least=0, panel=OUTPUT),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(
    ScoreOutputOptions,
    SentenceComparisonOptions,
    AdaptationOptions,
    UnknownOptions,
    ScorerOptions,
    ScoredLabelOptions,
    ScoredTextOptions,
):
    """All scoring options.

    Example:
        >>> from charnn.config import ScoreOptions
        >>> ScoreOptions(format="srilm").base
        '10'
    """

    @property
    def base(self) -> str:
        """Base of the logarithms in the output: "e", "2" or "10"."""
        return BASE_OF_FORMAT.get(self.format, self.log_base)

    @property
    def needs_tokens(self) -> bool:
        """Whether records contain scores of individual tokens."""
        return self.per_token or self.by_word or self.by_region or self.format in BASE_OF_FORMAT

    @property
    def needs_distributions(self) -> bool:
        """Whether records need the full distribution at each position."""
        return self.per_token or self.format == "neural-complexity"

    @property
    def adapts(self) -> bool:
        """Whether scores are shown together with those of the unadapted model."""
        return any(self.adaptations.values()) or self.temperature == FIT

    @property
    def is_running(self) -> bool:
        """Whether a unit is a running text of any length, which is scored in segments and has no closing boundary."""
        return self.unit in ("stream", "file")

    @property
    def closes(self) -> bool:
        """Whether the boundary that closes a unit is scored."""
        return self.eos and not self.is_running

    def plain(self, weights: tuple[float, ...]) -> "ScoreOptions":
        """Return the options for scoring the same text without adaptation, for its totals only.

        Args:
            weights: interpolation weights of several models, given or fitted.
        """
        defaults: OptionValues = {
            each.name: each.default for each in (*fields(AdaptationOptions), *fields(ScoreOutputOptions))
        }
        values = {"temperature": "1", "weight": weights, "fit_weights": None}
        return with_values(self, {**defaults, **values})

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect or contradict each other."""
        super().__post_init__()
        if self.temperature != FIT:
            self._check_temperature()
        for weight in self.weight:
            if not 0 < weight < math.inf:
                raise OptionError(f"-w: found {weight:g}, but it must be above 0 and finite")
        refuse_unused("--no-eos", not self.eos and self.is_running, "--unit line, document or tune")
        refuse_unused("--state", self.state == "carry" and self.is_running, "--unit line, document or tune")
        self._check_columns()
        self._check_labels()
        self._check_directions()
        self._check_unknown()
        self._check_adaptation()
        self._check_output()
        self._check_comparison()
        self._check_rollout()

    def _check_temperature(self) -> None:
        try:
            temperature = float(self.temperature)
        except ValueError:
            temperature = math.nan
        if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
            raise OptionError(
                f"--temperature: found {self.temperature!r}, but it must be a number from {MIN_TEMPERATURE:g} to "
                f"{MAX_TEMPERATURE:g}, or {FIT}"
            )

    def _check_columns(self) -> None:
        refuse_unused("--by-region", self.by_region and not self.column, "--column")
        if not self.column:
            return
        repeated = next((name for name in self.column if self.column.count(name) > 1), None)
        if repeated is not None:
            raise OptionError(f"--column: found {repeated} twice; name each column once")
        others = {
            "--pairs": self.pairs is not None,
            "--nbest": self.nbest is not None,
            "--unit": self.unit != "line",
            "--state": self.state != "reset",
            "--rollout": self.rollout > 0,
        }
        refuse_all(others, "--column")
        if self.by_region:
            foreign = {"--per-token": self.per_token, "--by-word": self.by_word}
            refuse_all({**foreign, f"--format {self.format}": self.format in BASE_OF_FORMAT}, "--by-region")

    def _check_labels(self) -> None:
        refuse_both("--label", self.label is not None and self.rollout > 0, "--rollout")
        self._check_label_column(self.column)
        others = {
            "--label": self.label is not None,
            "--pairs": self.pairs is not None,
            "--nbest": self.nbest is not None,
            f"--unit {self.unit}": self.is_running,
            "--state carry": self.state == "carry",
            **self.adaptations,
            "--temperature fit": self.temperature == FIT,
            "--fit-weights": self.fit_weights is not None,
            "--rollout": self.rollout > 0,
        }
        refuse_all(others if self.label_from is not None else {}, "--label-from")

    def _check_directions(self) -> None:
        if self.direction != "both":
            return
        refuse_both("--no-bos", not self.bos, "--direction both, which would leave out two different tokens")
        others = {
            "--mix-ngram": self.mix_ngram,
            "--state carry": self.state == "carry",
            **self.adaptations,
            "--alternatives": self.alternatives > 0,
            "--format neural-complexity": self.format == "neural-complexity",
        }
        refuse_all(others, "--direction both")

    def _check_unknown(self) -> None:
        unknown_options = {
            "--exclude-unk": self.exclude_unk,
            "--unk-penalty": self.unk_penalty is not None,
            "--spell": self.spell,
        }
        flags = [flag for flag, is_set in unknown_options.items() if is_set]
        if len(flags) > 1:
            refuse_both(flags[0], True, flags[1])

    def _check_adaptation(self) -> None:
        for flag, is_set in self.adaptations.items():
            refuse_both(flag, is_set and self.fit_weights is not None, "--fit-weights")
            refuse_both("--device cuda", self.device == "cuda" and is_set, flag)
        refuse_both("--adapt", self.adapt and self.mix_ngram, "--mix-ngram, whose counts it has too")

    def _check_output(self) -> None:
        foreign = self.format in BASE_OF_FORMAT
        refuse_both(f"--log-base {self.log_base}", foreign and self.log_base != "e", f"--format {self.format}")
        refuse_both(f"--unit {self.unit}", foreign and self.unit != "line", f"--format {self.format}")
        refuse_both("--per-token", self.per_token and foreign, f"--format {self.format}")
        refuse_both("--exclude-unk", self.exclude_unk and foreign, f"--format {self.format}")
        strict = self.format in ("kenlm", "srilm")
        for flag, is_set in {"--no-bos": not self.bos, "--no-eos": not self.eos, "--by-word": self.by_word}.items():
            refuse_both(flag, is_set and strict, f"--format {self.format}")
        refuse_both("--by-word", self.by_word and self.per_token, "--per-token")
        refuse_unused("--alternatives", self.alternatives > 0 and not self.per_token, "--per-token")
        has_spaces = self.by_word or self.by_region
        refuse_unused("--spaces", self.spaces != "before" and not has_spaces, "--by-word or --by-region")

    def _check_comparison(self) -> None:
        refuse_unused("--per-pair", self.per_pair and self.pairs is None, "--pairs")
        refuse_unused("--lm-scale", self.lm_scale is not None and self.nbest is None, "--nbest")
        refuse_unused("--word-penalty", self.word_penalty != 0 and self.lm_scale is None, "--lm-scale")
        refuse_both("--pairs", self.pairs is not None and self.nbest is not None, "--nbest")
        for flag, is_set in {"--pairs": self.pairs is not None, "--nbest": self.nbest is not None}.items():
            if not is_set:
                continue
            refuse_both(f"--format {self.format}", self.format in BASE_OF_FORMAT, flag)
            others = {
                "--unit": self.unit != "line",
                "--state": self.state != "reset",
                **self.adaptations,
                "--no-bos": not self.bos,
                "--per-token": self.per_token,
                "--by-word": self.by_word,
                "--rollout": self.rollout > 0,
            }
            refuse_all(others, flag)

    def _check_rollout(self) -> None:
        if not self.rollout:
            return
        refuse_unused("--rollout", self.unit != "stream", "--unit stream")
        others = {
            "--direction both": self.direction == "both",
            "--mix-ngram": self.mix_ngram,
            "--per-token": self.per_token,
            "--by-word": self.by_word,
            "--no-bos": not self.bos,
            **self.adaptations,
            "--temperature": self.temperature != "1",
            "-w": bool(self.weight),
            "--exclude-unk": self.exclude_unk,
            "--unk-penalty": self.unk_penalty is not None,
            "--spell": self.spell,
            "--fit-weights": self.fit_weights is not None,
            "--device cuda": self.device == "cuda",
        }
        refuse_all(others, "--rollout")
