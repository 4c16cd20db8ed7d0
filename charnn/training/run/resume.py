"""Resuming a run from its last checkpoint, bit for bit."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

from charnn.config import TrainingOptions
from charnn.config.compatibility import GROUPS
from charnn.config.training import BUDGETS
from charnn.errors import ModelError, OptionError
from charnn.files import JsonObject, write_atomically
from charnn.notices import notice_logger
from charnn.options import OptionValues, declared_options, flags_of, with_values
from charnn.storage.json_values import UNREADABLE, check_values, names_of
from charnn.storage.model_directory import (
    finish_interrupted_writes,
    is_half_of_bidirectional,
    is_model,
    read_model,
    read_training_state,
)
from charnn.storage.run_config import PlanFacts, RunConfig
from charnn.text.corpus import open_ids
from charnn.text.labels import LABELS_FILE, read_labels
from charnn.text.tokenizers import Tokenizer
from charnn.training.planning.devices import choose_device, supports_bf16
from charnn.training.position import TrainingPosition
from charnn.training.run.ngram_model import stored_ngrams
from charnn.training.run.session import Session, make_session

logger = notice_logger(__name__)

CHANGEABLE_ON_RESUME = (*BUDGETS, "patience", "learning_rate", "save_every", "threads", "fast_reduce", "log")


def resume_run(directory: Path, overrides: OptionValues, *, started: float) -> Session:
    """Resume a run from its last checkpoint, bit for bit.

    Args:
        directory: of the model.
        overrides: options that the user gave; only those in `CHANGEABLE_ON_RESUME` may differ from the run's own.
        started: the current `time.monotonic()`.

    Raises:
        ModelError: if there is no run to resume, or its budget is spent.
        OptionError: for an option that cannot be changed.
    """
    if not is_model(directory):
        raise ModelError(f"{directory}: found no run to resume; leave --resume out to start one")
    finish_interrupted_writes(directory)
    model = read_model(directory)
    config = model.config
    if config.training.slim and not (directory / "training.json").exists():
        raise ModelError(f"{directory}: was trained with --slim, which keeps nothing to resume from; train a new run")
    options, budget_changed = _changed_options(config, overrides)
    scalars, tensors = read_training_state(directory)
    config.training = options
    _check_resolved(directory, options)
    _check_corpus(directory, config, model.tokenizer)
    _check_label_files(directory, config)
    config.plan = _available_precision(_available_device(config.plan))
    position = _position(directory, scalars)
    session = make_session(directory, config, model.tokenizer, position.copy(), started - position.seconds)
    session.generation = model.generation
    stored_ngrams(directory, config)  # before training, which would fail in the end
    try:
        session.trainer.restore(position, tensors)
    except (*UNREADABLE, RuntimeError) as error:
        raise ModelError(
            f"{directory}/training.safetensors: does not fit this model ({error}), so the run cannot be resumed; "
            "restore the file, or train a new run"
        ) from error
    trainer = session.trainer
    progress = trainer.budget.progress(position.step, position.seconds)
    if budget_changed:
        trainer.position.next_evaluation = min(1.0, progress + trainer.evaluation_interval)
    _restore_best(session)
    config.results.stopped = None
    if progress >= 1:
        larger = _larger_budget(options, position, is_half_of_bidirectional(config))
        raise ModelError(
            f"{directory}: has spent its budget ({position.step:,} steps, {config.results.seconds:.0f} s); "
            f"to extend it, resume with a larger one, e.g. --resume {larger}"
        )
    trainer.position.num_stale = 0 if budget_changed else trainer.position.num_stale
    _drop_metrics_after(directory, position.step)
    return session


def _restore_best(session: Session) -> None:
    """Set the best loss so far to that of the saved weights, if an evaluation now reads what it read then."""
    position, results = session.trainer.position, session.config.results
    if not session.config.plan.final_valid_tokens and not session.evaluated.is_whole:
        position.best_loss_nats = None  # older versions evaluated the beginning of the held-out text
    elif session.trainer.budget.seconds is not None and results.valid_loss_nats is not None:
        selection_loss = results.valid_loss_nats if results.selection_loss_nats is None else results.selection_loss_nats
        position.best_loss_nats, position.best_step = selection_loss, results.best_step


def _changed_options(config: RunConfig, overrides: OptionValues) -> tuple[TrainingOptions, bool]:
    stored = {name: value for group in config.option_values().values() for name, value in group.items()}
    asked = {name: value for group in asdict(config.asked).values() for name, value in group.items()}
    declared = {name: option for group in GROUPS for name, (_, option) in declared_options(group).items()}
    for name, value in overrides.items():
        is_stored = name not in config.later_options
        if name not in CHANGEABLE_ON_RESUME and not (is_stored and value in (stored[name], asked[name])):
            flag = flags_of(name, declared[name])[-1]
            original = stored[name] if is_stored else "no such option"
            raise OptionError(f"{flag}: found {value}, but the run to resume was started with {original}; leave it out")
    options = config.training
    changes = {name: value for name, value in overrides.items() if name in CHANGEABLE_ON_RESUME}
    if any(name in changes for name in BUDGETS):
        changes = {**dict.fromkeys(BUDGETS), **changes}
    resumed = with_values(options, changes)
    return resumed, any(getattr(resumed, name) != getattr(options, name) for name in BUDGETS)


def _check_resolved(directory: Path, options: TrainingOptions) -> None:
    """Raise ModelError if an option that was resolved when the run was started is missing."""
    for name in ("batch_size", "dropout"):
        if getattr(options, name) is None:
            raise ModelError(
                f"{directory}/config.json: found no {name} in options.training, so the run cannot be resumed; "
                "restore the file, or train a new run"
            )


def _position(directory: Path, scalars: JsonObject) -> TrainingPosition:
    """Return the position in a checkpoint. Raises ModelError for a value of a wrong type."""
    file = f"{directory}/training.json"
    try:
        check_values(TrainingPosition, {name: scalars[name] for name in names_of(TrainingPosition) if name in scalars})
    except UNREADABLE as error:
        raise ModelError(f"{file}: is damaged ({error}); restore the file, or train a new run") from error
    return TrainingPosition.of(scalars)


def _check_corpus(directory: Path, config: RunConfig, tokenizer: Tokenizer) -> None:
    """Raise ModelError if a file of the encoded text is missing or has another length."""
    for split in ("train", "valid"):
        file, expected = directory / f"{split}.bin", config.corpus.size(split).num_tokens
        num_found = len(open_ids(file, tokenizer)) if file.exists() else 0
        if num_found != expected:
            raise ModelError(
                f"{file}: holds {num_found:,} tokens, the run was started with {expected:,}; "
                "restore the file, or start a new run"
            )


def _check_label_files(directory: Path, config: RunConfig) -> None:
    """Raise ModelError if a file of the labels of units is missing or has another length."""
    for split in ("train", "valid") if config.architecture.num_labels else ():
        file, expected = directory / LABELS_FILE.format(split=split), config.corpus.size(split).num_units
        num_found = len(read_labels(directory, split)) if file.exists() else 0
        if num_found != expected:
            raise ModelError(
                f"{file}: holds the labels of {num_found:,} units, the run was started with {expected:,}; "
                "restore the file, or start a new run"
            )


def _available_device(plan: PlanFacts) -> PlanFacts:
    """Keep the device of the run, or fall back to the CPU in fp32 if it had a GPU and there is none."""
    if plan.device == "cuda" and choose_device("auto") == "cpu":
        logger.info("the run was started on a GPU and there is none: resuming on the CPU, in fp32")
        return replace(plan, device="cpu", precision="fp32", bf16_speedup=None)
    return plan


def _available_precision(plan: PlanFacts) -> PlanFacts:
    """Keep the precision of the run, or fall back to fp32 if this machine does not support bf16."""
    if plan.precision == "bf16" and not supports_bf16(plan.device):
        logger.info(
            "the run was started in bf16 and this machine does not support it: resuming in fp32, so the weights will differ"
        )
        return replace(plan, precision="fp32", bf16_speedup=None)
    return plan


def _larger_budget(options: TrainingOptions, position: TrainingPosition, is_bidirectional: bool) -> str:
    """Return an option with twice the spent budget; the minutes of a bidirectional model are for both networks."""
    if options.minutes:
        return f"--minutes {max(0.1, position.seconds / 30) * (2 if is_bidirectional else 1):.2g}"
    return f"--steps {position.step * 2}" if options.steps else f"--epochs {2 * (position.epoch + 1)}"


def _drop_metrics_after(directory: Path, step: int) -> None:
    """Drop the records of steps after the last checkpoint, which will be repeated."""
    path = directory / "metrics.jsonl"
    if path.exists():
        kept = [
            line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if _step_of(line) <= step
        ]
        write_atomically(path, "".join(line + "\n" for line in kept).encode("utf-8"))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf
