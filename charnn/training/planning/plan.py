"""Automatic choice of unset options (sizes, batch size, dropout, precision) from the corpus, the budget and the machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, cast

from charnn.config import Architecture, ModelOptions, TrainingOptions
from charnn.config.training import DEFAULT_MINUTES
from charnn.launch import launch
from charnn.notices import notice_logger
from charnn.options import refuse_unused
from charnn.storage.run_config import PlanFacts
from charnn.text.corpus import Corpus
from charnn.text.tokenizers import Tokenizer
from charnn.training.optim.optimizers import LEARNING_RATES, WEIGHT_DECAYS
from charnn.training.optim.schedule import FINAL_PASSES, Schedule
from charnn.training.parallel.workers import Workers
from charnn.training.planning.devices import supported_precision
from charnn.training.planning.ngram_tables import InputTableSizes, choose_input_tables
from charnn.training.planning.sizes import resolve_architecture
from charnn.training.planning.timing import EVALUATION_SPEED_RATIO, Speed, measure_speed
from charnn.training.trainer import MAX_EVALUATION_FRACTION

logger = notice_logger(__name__)

DEFAULT_BATCH_SIZE, WIDE_BATCH_SIZE, WIDE_HIDDEN_SIZE = 32, 64, 512
"""Batch sizes on a CPU; layers of at least `WIDE_HIDDEN_SIZE` process more tokens per second with the larger one."""
GPU_BATCH_SIZE = 128
_MUON_RATE_BY_STEPS = ((3000, 0.04), (5000, 0.03), (float("inf"), LEARNING_RATES["muon"]))
"""Muon's peak learning rate by number of steps: 0.04 instead of 0.02 reduced the loss by 0.5 to 1.4 % after 560 to 1,600, but
not after 5,400; the limits in between are guesses."""
CARRY_LENGTH = 512
"""Segment length in tokens: longer than the context that an LSTM uses, but short enough that a batch samples the whole text."""
CARRY_WINDOWS = 2
"""Segment length in windows of attention, at least: about half of the positions then see a whole window."""
MAX_EVALUATIONS = 40
MIN_EVALUATIONS = 3
"""If the held-out text is too long for this many evaluations, only pieces of it are evaluated."""
MAX_FINAL_FRACTION = 0.1
"""Maximum fraction of the time for the final metrics."""
STARTUP_SECONDS, STEP_TIME_FRACTION = 4.0, 0.85
"""Observed time for loading torch and reading the text, and observed fraction of the remaining time that is spent on steps."""

REFERENCE_SPEEDS = {128: 192e3, 192: 123e3, 256: 91e3, 384: 53e3, 512: 37e3}
"""Characters per second by hidden size, on the machine on which the hidden sizes by time budget were determined."""
SAME_SPEED_RATIO = 1.5
"""Factor by which the speed must differ from the reference to change the hidden size."""
_TIME_FACTOR_BY_EPOCHS = ((2, 0.5), (15, 1.0), (float("inf"), 1.5))
"""Effective-time factor by number of epochs: with few epochs, more text helps more than a larger network, and vice versa."""
_NGRAM_ORDERS = {"char": 7, "byte": 7}
_NGRAM_ORDER_OF_BASES, _NGRAM_ORDER_OF_RESIDUES = 20, 6
"""Of 5 Mb of E. coli, orders up to 11 with order 20 for repeats gave fewer bits per base than with order 12, 14 or 16."""
_NGRAM_DROPOUT_BY_EPOCHS = ((10, 0.0), (16, 0.25), (50, 0.5), (float("inf"), 0.75))
MEMORIZATION_EPOCHS, MIN_NGRAM_DROPOUT = 10, 0.25
"""Number of epochs over a million tokens after which n-grams are memorized (half as many over 125,000), and the minimum n-gram
dropout from then on."""
_DROPOUT_BY_EPOCHS = ((4, 0.0), (10, 0.05), (30, 0.1), (60, 0.2), (100, 0.3), (float("inf"), 0.4))
"""By the equivalent number of epochs over a million tokens: one epoch over 125,000 counts as two, as it is memorized sooner."""
FEWEST_TOKENS = 125_000
"""Texts below this length count as having it."""


def resolve_budget(options: TrainingOptions) -> TrainingOptions:
    """Return the options, with the default budget if they have none."""
    if options.minutes is None and options.steps is None and options.epochs is None:
        return replace(options, minutes=DEFAULT_MINUTES)
    return options


def effective_time_factor(hidden_size: int, speed: float, num_epochs: float) -> float:
    """Return the factor by which a time budget is scaled to choose the hidden size.

    The hidden sizes by time budget were determined on one machine, for several epochs: the factor is larger on a faster machine
    or for many epochs, and smaller if the budget does not suffice for the whole text.

    Args:
        hidden_size: hidden size of the network that was timed.
        speed: tokens per second.
        num_epochs: number of epochs within the budget at this speed.
    """
    ratio = speed / REFERENCE_SPEEDS.get(hidden_size, speed)
    speed_factor = 1.0 if 1 / SAME_SPEED_RATIO < ratio < SAME_SPEED_RATIO else ratio
    return speed_factor * _by_limit(_TIME_FACTOR_BY_EPOCHS, num_epochs)


def resolve_training(
    options: TrainingOptions,
    *,
    unit: str,
    num_tokens: int,
    num_epochs: float,
    batch_size: int,
    attention_window: int = 0,
) -> TrainingOptions:
    """Choose the unset training options.

    Args:
        options: with a budget.
        unit: stream, line or document.
        num_tokens: length of the training text.
        num_epochs: expected number of epochs within the budget.
        batch_size: see `choose_batch_size`.
        attention_window: of the network; 0 without attention.
    """
    rate = LEARNING_RATES[options.optimizer]
    if options.optimizer == "muon":
        num_steps = round(num_epochs * num_tokens / (batch_size * options.bptt_length))
        rate = _by_limit(_MUON_RATE_BY_STEPS, num_steps)
    carry_length = options.carry_length
    if carry_length is None and unit == "stream":
        wanted = max(CARRY_LENGTH, CARRY_WINDOWS * attention_window)
        carry_length = max(1, round(wanted / options.bptt_length)) * options.bptt_length
    equivalent_epochs = num_epochs * (1e6 / max(num_tokens, FEWEST_TOKENS)) ** (1 / 3)
    dropout = _by_limit(_DROPOUT_BY_EPOCHS, equivalent_epochs)
    ngram_dropout = _by_limit(_NGRAM_DROPOUT_BY_EPOCHS, num_epochs)
    if num_epochs > MEMORIZATION_EPOCHS * (num_tokens / 1e6) ** (1 / 3):
        ngram_dropout = max(ngram_dropout, MIN_NGRAM_DROPOUT)
    schedule = Schedule.of(options)
    return replace(
        options,
        batch_size=batch_size,
        schedule=schedule.name,
        warmup=schedule.warmup,
        final_rate=schedule.final_rate if schedule.name not in ("constant", "plateau") else None,
        carry_length=carry_length,
        dropout=dropout if options.dropout is None else options.dropout,
        ngram_dropout=ngram_dropout if options.ngram_dropout is None else options.ngram_dropout,
        learning_rate=options.learning_rate or rate,
        weight_decay=WEIGHT_DECAYS[options.optimizer] if options.weight_decay is None else options.weight_decay,
    )


def choose_batch_size(
    requested: int | None, *, hidden_size: int, num_tokens: int, bptt_length: int, device: str
) -> int:
    """Return the requested or default batch size, limited so that each stream has at least one BPTT length of text."""
    default = WIDE_BATCH_SIZE if hidden_size >= WIDE_HIDDEN_SIZE else DEFAULT_BATCH_SIZE
    if device == "cuda":
        default = GPU_BATCH_SIZE
    return max(1, min(requested or default, num_tokens // bptt_length or 1))


def plan_evaluations(
    *,
    num_valid: int,
    num_training: float,
    seconds: float | None,
    evaluation_speed: float,
    max_evaluations: int = MAX_EVALUATIONS,
) -> tuple[float, int, int]:
    """Choose the interval of evaluations and their tokens, so that they take about 5 % of the time, and the final metrics 10 %.

    Args:
        num_valid: number of held-out tokens.
        num_training: number of tokens processed in training.
        seconds: the time budget; if None, the result depends only on counts, so that a run is reproducible.
        evaluation_speed: tokens per second.
        max_evaluations: maximum number of evaluations; for NT-ASGD, which evaluations trigger, at least one per epoch.

    Returns:
        The progress between two evaluations, and the maximum tokens of an evaluation and of the final metrics.
    """
    readable = num_training * EVALUATION_SPEED_RATIO if seconds is None else seconds * evaluation_speed
    affordable = MAX_EVALUATION_FRACTION * readable
    max_tokens = int(min(num_valid, max(affordable / MIN_EVALUATIONS, 2000)))
    num_evaluations = min(max(affordable / max_tokens, 1), max_evaluations) if num_valid else MAX_EVALUATIONS / 2
    final_tokens = int(min(num_valid, max(MAX_FINAL_FRACTION * readable / FINAL_PASSES, max_tokens)))
    return 1 / num_evaluations, max_tokens, final_tokens


def _by_limit(table: Sequence[tuple[float, float]], number: float) -> float:
    """Return the value of the first row whose limit is at least a number."""
    return next(value for limit, value in table if number <= limit)


@dataclass(frozen=True)
class Plan:
    """The decisions before the first step.

    Args:
        architecture: the resolved architecture.
        options: the resolved training options.
        device: cpu or cuda.
        speed: the measured speed.
        evaluation_interval: progress between evaluations.
        max_valid_tokens, final_valid_tokens: number of held-out tokens per evaluation, and for the final metrics.
        ngram_order: order of the n-gram model to count; 0 for none.
        expected_epochs: expected number of epochs within the budget.
    """

    architecture: Architecture
    options: TrainingOptions
    device: str
    speed: Speed
    evaluation_interval: float
    max_valid_tokens: int
    final_valid_tokens: int
    ngram_order: int
    expected_epochs: float

    def facts(self) -> PlanFacts:
        """Return the part of the plan that `config.json` stores in addition to the architecture and the options."""
        place = launch()
        return PlanFacts(
            job=place.job if place else None,
            device=cast(Literal["cpu", "cuda"], self.device),
            precision=cast(Literal["fp32", "bf16"], self.speed.precision),
            bf16_speedup=self.speed.bf16_speedup,
            expected_epochs=self.expected_epochs,
            training_tokens_per_second=round(self.speed.training),
            evaluation_interval=self.evaluation_interval,
            max_valid_tokens=self.max_valid_tokens,
            final_valid_tokens=self.final_valid_tokens,
            ngram_order=self.ngram_order,
            evaluation_seconds=self.max_valid_tokens / self.speed.evaluation,
        )


def make_plan(
    model_options: ModelOptions,
    options: TrainingOptions,
    *,
    corpus: Corpus,
    device: str,
    workers: Workers,
    fixed: Architecture | None = None,
) -> Plan:
    """Choose all unset options.

    Args:
        model_options: model options as set by the user.
        options: training options with a budget.
        corpus: the encoded corpus.
        device: cpu or cuda.
        workers: threads to train with.
        fixed: the architecture, if it is that of an earlier model.
    """
    num_tokens = corpus.train.num_tokens
    seconds = options.minutes * 60 if options.minutes else None
    if not corpus.valid.num_tokens:
        needed = "held-out text (--valid-fraction or --valid)"
        refuse_unused("--schedule plateau", options.schedule == "plateau", needed)
        refuse_unused("--optimizer nt-asgd", options.optimizer == "nt-asgd", needed)
    options = replace(
        options,
        bptt_length=min(options.bptt_length, num_tokens),
        precision=supported_precision(options.precision, device),
    )
    architecture, speed, batch_size = _choose_sizes(
        model_options, options, corpus=corpus, device=device, seconds=seconds, workers=workers, fixed=fixed
    )
    if architecture.num_layers == 1 and options.dropout_kind != "variational":
        refuse_unused("--hidden-dropout", bool(options.hidden_dropout), "--num-layers 2 or more")
    if not architecture.history_size:
        refuse_unused("--ngram-dropout", bool(options.ngram_dropout), "--embedding-order 2 or more")
        options = replace(options, ngram_dropout=0.0)
    if options.batch_size and batch_size < options.batch_size:
        logger.info(
            f"the text is short ({num_tokens:,} tokens): --batch-size reduced from {options.batch_size} to {batch_size}"
        )
    num_training = _expected_tokens(options, batch_size, num_tokens, speed)
    evaluation_interval, max_valid_tokens, final_valid_tokens = plan_evaluations(
        num_valid=corpus.valid.num_tokens,
        num_training=num_training,
        seconds=seconds,
        evaluation_speed=speed.evaluation,
        max_evaluations=max(MAX_EVALUATIONS, round(options.epochs or 0))
        if options.optimizer == "nt-asgd"
        else MAX_EVALUATIONS,
    )
    num_epochs = num_training / num_tokens
    options = resolve_training(
        options,
        unit=corpus.tokenizer.unit,
        num_tokens=num_tokens,
        num_epochs=num_epochs,
        batch_size=batch_size,
        attention_window=architecture.attention_window,
    )
    ngram_order = _default_ngram_order(corpus.tokenizer) if options.ngram_order is None else options.ngram_order
    return Plan(
        architecture,
        options,
        device,
        speed,
        evaluation_interval,
        max_valid_tokens,
        final_valid_tokens,
        ngram_order,
        num_epochs,
    )


def _default_ngram_order(tokenizer: Tokenizer) -> int:
    if tokenizer.fasta is not None and tokenizer.kind == "char":
        return _NGRAM_ORDER_OF_BASES if tokenizer.fasta.has_bases else _NGRAM_ORDER_OF_RESIDUES
    return _NGRAM_ORDERS.get(tokenizer.kind, 4)


def _choose_sizes(
    model_options: ModelOptions,
    options: TrainingOptions,
    *,
    corpus: Corpus,
    device: str,
    seconds: float | None,
    workers: Workers,
    fixed: Architecture | None,
) -> tuple[Architecture, Speed, int]:
    """Choose the network sizes and the batch size, time a step, and revise the sizes if the speed requires it."""
    num_tokens = corpus.train.num_tokens

    @cache
    def tables(max_order: int) -> InputTableSizes:
        return choose_input_tables(corpus.ids("train"), corpus.tokenizer, max_order=max_order)

    def choose(effective_seconds: float | None) -> tuple[Architecture, int]:
        architecture = fixed or resolve_architecture(
            model_options,
            kind=corpus.tokenizer.kind,
            vocab_size=len(corpus.tokenizer.vocabulary),
            num_tokens=num_tokens,
            seconds=effective_seconds,
            device=device,
        )
        if fixed is None:
            architecture = replace(architecture, **tables(architecture.embedding_order)._asdict())
        batch_size = choose_batch_size(
            options.batch_size,
            hidden_size=architecture.hidden_size,
            num_tokens=num_tokens,
            bptt_length=options.bptt_length,
            device=device,
        )
        return architecture, batch_size

    def timed(architecture: Architecture, batch_size: int) -> Speed:
        speed = measure_speed(
            architecture, options, batch_size=batch_size, device=device, seconds=seconds, workers=workers
        )
        return replace(speed, training=speed.training * _num_alike(device))

    architecture, batch_size = choose(seconds)
    speed = timed(architecture, batch_size)
    if seconds is None or device == "cuda":
        return architecture, speed, batch_size
    num_epochs = _expected_tokens(options, batch_size, num_tokens, speed) / num_tokens
    revised, revised_batch_size = choose(
        seconds * effective_time_factor(architecture.hidden_size, speed.training, num_epochs)
    )
    if revised == architecture:
        return architecture, speed, batch_size
    return revised, timed(revised, revised_batch_size), revised_batch_size


def _num_alike(device: str) -> int:
    """Return how many times the hardware that was timed takes part: machines with all their cores, or GPUs."""
    place = launch()
    return 1 if place is None else place.size if device == "cuda" else place.num_machines


def _expected_tokens(options: TrainingOptions, batch_size: int, num_tokens: int, speed: Speed) -> float:
    """Return the number of tokens that the budget allows: exact for steps and epochs, estimated for minutes."""
    estimates: list[float] = []
    if options.steps:
        estimates.append(options.steps * batch_size * options.bptt_length)
    if options.epochs:
        estimates.append(options.epochs * num_tokens)
    if options.minutes:
        seconds = max(options.minutes * 60 - STARTUP_SECONDS, 0.0)
        estimates.append(max(seconds * STEP_TIME_FRACTION * speed.training, 1.0))
    return float(min(estimates))
