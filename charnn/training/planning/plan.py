"""Choices that a user left open: sizes, batch, dropout and precision, from the corpus, the budget and the machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charnn.config import Architecture, ModelOptions, TrainingOptions
from charnn.config.training import DEFAULT_MINUTES
from charnn.notices import notice_logger
from charnn.options import refuse_unused
from charnn.storage.run_config import PlanFacts
from charnn.text.corpus import Corpus
from charnn.training.optim.optimizers import LEARNING_RATES, WEIGHT_DECAYS
from charnn.training.optim.schedule import Schedule
from charnn.training.parallel.workers import Workers
from charnn.training.planning.devices import supported_precision
from charnn.training.planning.sizes import resolve_architecture
from charnn.training.planning.timing import EVALUATION_SPEED_RATIO, Speed, measure_speed
from charnn.training.trainer import MAX_EVALUATION_FRACTION

logger = notice_logger(__name__)

LANES, LANES_OF_WIDE, WIDE = 32, 64, 512
"""Streams side by side on a processor; more of them keep its units busier where a layer is wide."""
LANES_ON_GPU = 128
SHORT_RUN_STEPS, RATE_OF_SHORT_RUN = 1200, 0.03
"""Muon's rate where there are fewer steps than this: better by 0.5 to 0.9 % over 700 to 1,000 steps, by nothing over 1,500."""
CARRY_LENGTH = 512
"""Long enough for what an LSTM remembers, and short enough that the lanes of a step come from all over a text."""
MOST_EVALUATIONS = 40
FEWEST_EVALUATIONS = 3
"""Where the held-out text is so long that it could not be read this often, only its beginning is."""
SECONDS_TO_BEGIN, SHARE_FOR_STEPS = 4.0, 0.85
"""What loading torch and reading the text take of a time budget, and the share of the rest that is left for steps at the speed
of the shortest one timed: so many passes were seen."""

REFERENCE_SPEEDS = {128: 192e3, 192: 123e3, 256: 91e3, 384: 53e3, 512: 37e3}
"""Tokens a second at each width, of characters, on the machine on which the widths by seconds were found."""
LIKE_THE_REFERENCE = 1.5
"""A machine, or a vocabulary, that makes steps faster or slower by less than this gets the same widths."""
_WORTH_BY_EPOCHS = ((2, 0.5), (15, 1.0), (float("inf"), 1.5))
"""What a second is worth for width by the passes over the text: new text teaches more than width does, known text less."""
_NGRAM_ORDERS = {"char": 7, "byte": 7}
_NGRAM_DROPOUT_BY_EPOCHS = ((10, 0.0), (16, 0.25), (50, 0.5), (float("inf"), 0.75))
EPOCHS_OF_A_MILLION, LEAST_NGRAM_DROPOUT = 10, 0.25
"""Passes over a million tokens after which n-grams are known by heart; over an eighth of that, half as many passes."""
_DROPOUT_BY_EPOCHS = ((4, 0.0), (10, 0.05), (30, 0.1), (60, 0.2), (100, 0.3), (float("inf"), 0.4))


def resolve_budget(options: TrainingOptions) -> TrainingOptions:
    """Return the options with the default budget where none is given."""
    if options.minutes is None and options.steps is None and options.epochs is None:
        return replace(options, minutes=DEFAULT_MINUTES)
    return options


def worth_of_a_second(hidden_size: int, speed: float, num_epochs: float) -> float:
    """Return what a second counts as when a width is chosen by the budget.

    The widths by seconds are those of one machine and of texts that are read several times: a second counts as more on a
    faster machine and where the text will be read often, and as less where much of it will not be read.

    Args:
        hidden_size: the width that was timed.
        speed: tokens a second.
        num_epochs: passes over the text that the budget allows at this speed.
    """
    ratio = speed / REFERENCE_SPEEDS.get(hidden_size, speed)
    worth = 1.0 if 1 / LIKE_THE_REFERENCE < ratio < LIKE_THE_REFERENCE else ratio
    return worth * _by_epochs(_WORTH_BY_EPOCHS, num_epochs)


def resolve_training(
    options: TrainingOptions, *, unit: str, num_tokens: int, num_epochs: float, batch_size: int
) -> TrainingOptions:
    """Choose the training options that were left open.

    Args:
        unit: what is independent in the text.
        num_tokens: length of the training text.
        num_epochs: passes over it that the budget is expected to allow.
        batch_size: lanes (see `choose_batch_size`).
    """
    rate = LEARNING_RATES[options.optimizer]
    num_steps = num_epochs * num_tokens / (batch_size * options.bptt_length)
    if options.optimizer == "muon" and num_steps < SHORT_RUN_STEPS:
        rate = RATE_OF_SHORT_RUN
    carry_length = options.carry_length
    if carry_length is None and unit == "stream":
        carry_length = max(1, round(CARRY_LENGTH / options.bptt_length)) * options.bptt_length
    dropout = _by_epochs(_DROPOUT_BY_EPOCHS, num_epochs)
    ngram_dropout = _by_epochs(_NGRAM_DROPOUT_BY_EPOCHS, num_epochs)
    if num_epochs > EPOCHS_OF_A_MILLION * (num_tokens / 1e6) ** (1 / 3):
        ngram_dropout = max(ngram_dropout, LEAST_NGRAM_DROPOUT)
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


def choose_batch_size(wanted: int | None, *, hidden_size: int, num_tokens: int, bptt_length: int, device: str) -> int:
    """Return the number of lanes: so many that each is at least one BPTT length long."""
    usual = LANES_ON_GPU if device == "cuda" else LANES_OF_WIDE if hidden_size >= WIDE else LANES
    return max(1, min(wanted or usual, num_tokens // bptt_length or 1))


def plan_evaluations(
    *,
    num_valid: int,
    num_training: float,
    seconds: float | None,
    evaluation_speed: float,
    most: int = MOST_EVALUATIONS,
) -> tuple[float, int]:
    """Decide how often and on how much held-out text to evaluate, in about a twentieth of the time at most.

    Args:
        num_valid: tokens held out.
        num_training: tokens that the budget of steps will train on.
        seconds: the time budget; where it is None the plan depends on counts alone, so that a run can be repeated.
        evaluation_speed: tokens a second.
        most: evaluations; for NT-ASGD, which looks for one that is no better, one a pass.

    Returns:
        The progress between two evaluations, and the most tokens that each reads.
    """
    affordable = MAX_EVALUATION_FRACTION * (
        num_training * EVALUATION_SPEED_RATIO if seconds is None else seconds * evaluation_speed
    )
    max_tokens = int(min(num_valid, max(affordable / FEWEST_EVALUATIONS, 2000)))
    number = min(max(affordable / max_tokens, 1), most) if num_valid else MOST_EVALUATIONS / 2
    return 1 / number, max_tokens


def _by_epochs(table: Sequence[tuple[float, float]], num_epochs: float) -> float:
    """Return the value of the first row whose limit is not passed."""
    return next(value for limit, value in table if num_epochs <= limit)


@dataclass(frozen=True)
class Plan:
    """All that is decided before the first step.

    Args:
        architecture: resolved sizes.
        options: resolved training options.
        device: cpu or cuda.
        speed: what was measured.
        evaluation_interval: progress between evaluations.
        max_valid_tokens: held-out tokens that an evaluation reads.
        ngram_order: that of the n-gram model to be counted, 0 for none.
        expected_epochs: passes over the text that the budget is expected to allow.
    """

    architecture: Architecture
    options: TrainingOptions
    device: str
    speed: Speed
    evaluation_interval: float
    max_valid_tokens: int
    ngram_order: int
    expected_epochs: float

    def facts(self) -> PlanFacts:
        """Return what `config.json` keeps of it beside architecture and options."""
        return PlanFacts(
            device=self.device,
            precision=self.speed.precision,
            bf16_speedup=self.speed.ratio,
            expected_epochs=self.expected_epochs,
            training_tokens_per_second=round(self.speed.training),
            evaluation_interval=self.evaluation_interval,
            max_valid_tokens=self.max_valid_tokens,
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
) -> Plan:
    """Decide all that the user left open.

    Args:
        options: with a budget.
        corpus: encoded.
        workers: who will train.
    """
    num_tokens = corpus.train.num_tokens
    seconds = options.minutes * 60 if options.minutes else None
    if not corpus.valid.num_tokens:
        needed = "text that is held out (--valid-fraction or --valid)"
        refuse_unused("--schedule plateau", options.schedule == "plateau", needed)
        refuse_unused("--optimizer nt-asgd", options.optimizer == "nt-asgd", needed)
    options = replace(
        options,
        bptt_length=min(options.bptt_length, num_tokens),
        precision=supported_precision(options.precision, device),
    )
    architecture, speed, batch_size = _choose_sizes(
        model_options, options, corpus=corpus, device=device, seconds=seconds, workers=workers
    )
    if architecture.num_layers == 1 and options.dropout_kind != "variational":
        refuse_unused("--hidden-dropout", bool(options.hidden_dropout), "--num-layers 2 or more")
    if architecture.embedding_order == 1:
        refuse_unused("--ngram-dropout", bool(options.ngram_dropout), "--embedding-order 2 or more")
        options = replace(options, ngram_dropout=0.0)
    if options.batch_size and batch_size < options.batch_size:
        logger.info(f"the text is short ({num_tokens:,} tokens): --batch-size {options.batch_size} became {batch_size}")
    num_training = _expected_tokens(options, batch_size, num_tokens, speed)
    evaluation_interval, max_valid_tokens = plan_evaluations(
        num_valid=corpus.valid.num_tokens,
        num_training=num_training,
        seconds=seconds,
        evaluation_speed=speed.evaluation,
        most=max(MOST_EVALUATIONS, round(options.epochs or 0)) if options.optimizer == "nt-asgd" else MOST_EVALUATIONS,
    )
    num_epochs = num_training / num_tokens
    options = resolve_training(
        options,
        unit=corpus.tokenizer.unit,
        num_tokens=num_tokens,
        num_epochs=num_epochs,
        batch_size=batch_size,
    )
    ngram_order = _NGRAM_ORDERS.get(corpus.tokenizer.kind, 4) if options.ngram_order is None else options.ngram_order
    return Plan(architecture, options, device, speed, evaluation_interval, max_valid_tokens, ngram_order, num_epochs)


def _choose_sizes(
    model_options: ModelOptions,
    options: TrainingOptions,
    *,
    corpus: Corpus,
    device: str,
    seconds: float | None,
    workers: Workers,
) -> tuple[Architecture, Speed, int]:
    """Choose the network's sizes and the lanes, time them, and choose anew where the time says so."""
    num_tokens = corpus.train.num_tokens

    def choose(worth: float | None) -> tuple[Architecture, int]:
        architecture = resolve_architecture(
            model_options,
            kind=corpus.tokenizer.kind,
            vocab_size=len(corpus.tokenizer.vocabulary),
            num_tokens=num_tokens,
            seconds=worth,
            device=device,
        )
        batch_size = choose_batch_size(
            options.batch_size,
            hidden_size=architecture.hidden_size,
            num_tokens=num_tokens,
            bptt_length=options.bptt_length,
            device=device,
        )
        return architecture, batch_size

    def timed(architecture: Architecture, batch_size: int) -> Speed:
        return measure_speed(
            architecture, options, batch_size=batch_size, device=device, seconds=seconds, workers=workers
        )

    architecture, batch_size = choose(seconds)
    speed = timed(architecture, batch_size)
    if seconds is None or device == "cuda":
        return architecture, speed, batch_size
    num_epochs = _expected_tokens(options, batch_size, num_tokens, speed) / num_tokens
    fitting, batch_size_of_fitting = choose(
        seconds * worth_of_a_second(architecture.hidden_size, speed.training, num_epochs)
    )
    if fitting == architecture:
        return architecture, speed, batch_size
    return fitting, timed(fitting, batch_size_of_fitting), batch_size_of_fitting


def _expected_tokens(options: TrainingOptions, batch_size: int, num_tokens: int, speed: Speed) -> float:
    """Return how many tokens the budget will train on: counted from steps and epochs, estimated from minutes."""
    expectations: list[float] = []
    if options.steps:
        expectations.append(options.steps * batch_size * options.bptt_length)
    if options.epochs:
        expectations.append(options.epochs * num_tokens)
    if options.minutes:
        seconds = max(options.minutes * 60 - SECONDS_TO_BEGIN, 0.0)
        expectations.append(max(seconds * SHARE_FOR_STEPS * speed.training, 1.0))
    return float(min(expectations))
