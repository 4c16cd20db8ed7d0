"""Going on with a run from its last checkpoint, bit for bit."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

from charnn.config import TrainingOptions
from charnn.config.compatibility import GROUPS
from charnn.config.training import BUDGETS
from charnn.errors import ModelError, OptionError
from charnn.files import write_atomically
from charnn.notices import notice_logger
from charnn.options import OptionValues, declared_options, flags_of
from charnn.storage.model_directory import (
    finish_interrupted_writes,
    is_half_of_bidirectional,
    is_model,
    read_model,
    read_ngrams,
    read_training_state,
)
from charnn.storage.run_config import PlanFacts, RunConfig
from charnn.text.corpus import open_ids
from charnn.text.tokenizers import Tokenizer
from charnn.training.planning.devices import choose_device, has_bf16_units
from charnn.training.position import Position
from charnn.training.run.session import Session, make_session

logger = notice_logger(__name__)

CHANGEABLE_ON_RESUME = (*BUDGETS, "patience", "learning_rate", "save_every", "threads")


def go_on(directory: Path, given: OptionValues, *, started: float) -> Session:
    """Go on with a run from its last checkpoint, bit for bit.

    Args:
        given: options named on the command line; only budgets, patience and learning rate may differ from before.
        started: `time.monotonic()` now.

    Raises:
        ModelError: where there is nothing to resume.
        OptionError: for an option that cannot change.
    """
    if not is_model(directory):
        raise ModelError(f"{directory}: found no run to resume; leave --resume out to begin one")
    finish_interrupted_writes(directory)
    model = read_model(directory)
    config = model.config
    options, changed = _changed_options(config, given)
    scalars, tensors = read_training_state(directory)
    config.training = options
    _check_corpus(directory, config, model.tokenizer)
    config.plan = _keep_precision(_keep_device(config.plan))
    position = Position.of(scalars)
    session = make_session(directory, config, model.tokenizer, position, started - position.seconds)
    session.generation = model.generation
    if config.plan.ngram_order:
        session.ngrams = read_ngrams(directory, model.architecture.vocab_size, tokenizer_sha256=config.tokenizer_sha256)
    session.trainer.restore(scalars, tensors)
    trainer = session.trainer
    progress = trainer.budget.progress(position.step, position.seconds)
    if changed:
        trainer.position.next_evaluation = min(1.0, progress + trainer.evaluation_interval)
    if trainer.budget.seconds is not None and config.results.valid_loss_nats is not None:
        trainer.position.best_loss_nats = config.results.valid_loss_nats
        trainer.position.best_step = config.results.best_step
    config.results.stopped = None
    if progress >= 1:
        larger = _larger_budget(options, position, is_half_of_bidirectional(config))
        raise ModelError(
            f"{directory}: has spent its budget ({position.step:,} steps, {position.seconds:.0f} s); "
            f"to go on give it more than that, e.g. --resume {larger}"
        )
    trainer.position.num_stale = 0 if changed else trainer.position.num_stale
    _forget_metrics_after(directory, position.step)
    return session


def _changed_options(config: RunConfig, given: OptionValues) -> tuple[TrainingOptions, bool]:
    before = {name: value for group in config.option_values().values() for name, value in group.items()}
    asked = {name: value for group in asdict(config.asked).values() for name, value in group.items()}
    declared = {name: option for group in GROUPS for name, (_, option) in declared_options(group).items()}
    for name, value in given.items():
        existed = name not in config.later_options
        if name not in CHANGEABLE_ON_RESUME and not (existed and value in (before[name], asked[name])):
            flag = flags_of(name, declared[name])[-1]
            begun_with = before[name] if existed else "no such option"
            raise OptionError(f"{flag}: found {value}, but the run to resume was begun with {begun_with}; leave it out")
    options = config.training
    changes = {name: value for name, value in given.items() if name in CHANGEABLE_ON_RESUME}
    if any(name in changes for name in BUDGETS):
        changes = {**dict.fromkeys(BUDGETS), **changes}
    resumed = replace(options, **changes)
    return resumed, any(getattr(resumed, name) != getattr(options, name) for name in BUDGETS)


def _check_corpus(directory: Path, config: RunConfig, tokenizer: Tokenizer) -> None:
    """Refuse to train on a damaged encoded text. Raises ModelError."""
    for split in ("train", "valid"):
        file, expected = directory / f"{split}.bin", config.corpus.size(split).num_tokens
        found = len(open_ids(file, tokenizer)) if file.exists() else 0
        if found != expected:
            raise ModelError(
                f"{file}: holds {found:,} tokens, the run was begun with {expected:,}; restore the file, or begin anew"
            )


def _keep_device(plan: PlanFacts) -> PlanFacts:
    """Go on with the device of before; where it is gone, on the processor, in fp32."""
    if plan.device == "cuda" and choose_device("auto") == "cpu":
        logger.info("the run was begun on a GPU and there is none: going on on the processor, in fp32")
        return replace(plan, device="cpu", precision="fp32", bf16_speedup=None)
    return plan


def _keep_precision(plan: PlanFacts) -> PlanFacts:
    """Go on in the precision of before; where this machine has no units for it, in fp32."""
    if plan.precision == "bf16" and not has_bf16_units(plan.device):
        logger.info(
            "the run was begun in bf16 and this machine has no units for it: going on in fp32, so to other weights"
        )
        return replace(plan, precision="fp32", bf16_speedup=None)
    return plan


def _larger_budget(options: TrainingOptions, position: Position, shared: bool) -> str:
    """Return twice what was spent, in the budget's own unit; minutes that a pair shares are those of both."""
    if options.minutes:
        return f"--minutes {max(0.1, position.seconds / 30) * (2 if shared else 1):.2g}"
    return f"--steps {position.step * 2}" if options.steps else f"--epochs {2 * (position.epoch + 1)}"


def _forget_metrics_after(directory: Path, step: int) -> None:
    """Drop the records of steps that were done after the last checkpoint: they will be done again."""
    path = directory / "metrics.jsonl"
    if path.exists():
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        write_atomically(path, "".join(line + "\n" for line in kept).encode("utf-8"))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf
