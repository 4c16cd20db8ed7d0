"""A training run and its model directory: train, and save the results; see `create` and `resume`."""

import contextlib
import shlex
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.cores import available_cores
from charnn.errors import CharnnError, LostRankError, StorageError
from charnn.storage.label_ngrams import read_label_ngrams
from charnn.storage.model_directory import (
    Model,
    is_model,
    read_model,
    update_config,
    write_model,
    write_training_state,
)
from charnn.storage.run_config import RunConfig
from charnn.storage.run_files import OLD_VALID_FILE
from charnn.storage.tensor_file import Tensors
from charnn.text.corpus import open_ids
from charnn.text.labels import read_labels
from charnn.text.tokenizers import Tokenizer
from charnn.training.batches import Batches, make_batches
from charnn.training.evaluation import Validation, validate
from charnn.training.events import CheckpointDue, Evaluated, Event, Stopped
from charnn.training.held_out import HeldOutText
from charnn.training.network.compilation import compile_steps
from charnn.training.network.dropout import RegularizationRates
from charnn.training.network.freezing import freeze
from charnn.training.network.network import Network
from charnn.training.objective import TokenNoise
from charnn.training.optim.optimizers import make_optimizers
from charnn.training.optim.schedule import Budget, seconds_for_steps
from charnn.training.parallel.workers import Workers, one_torch_thread
from charnn.training.planning.memory import memory_kept, memory_returned, return_free_memory
from charnn.training.position import TrainingPosition
from charnn.training.run.bidirectional import directory_of_run
from charnn.training.run.event_files import logging_to
from charnn.training.run.further import loss_on, open_old_text, with_old_loss
from charnn.training.run.labels import measure_labels
from charnn.training.run.metrics import measure_final_metrics
from charnn.training.run.ngram_model import open_held_out, stored_ngrams
from charnn.training.run.saving import Saving
from charnn.training.trainer import Trainer

GOES_ON = "training goes on, and the next checkpoint is tried when it is due"


@dataclass
class Session:
    """A run that is ready to train.

    Args:
        directory: the model directory.
        config: the content of `config.json`.
        tokenizer: the tokenizer of the model.
        trainer: the trainer, at the position at which training starts.
        held_out: the held-out text on which the final metrics are measured.
        evaluated: the part of it that is evaluated during training.
        generation: generation of the weights on disk.
        unsaved_best: the best weights so far, if they are not on disk yet.
        old_held_out: held-out text of the model that is trained further, if there is any.
        saving: what could not be saved yet; None before training.
    """

    directory: Path
    config: RunConfig
    tokenizer: Tokenizer
    trainer: Trainer
    held_out: HeldOutText
    evaluated: HeldOutText
    generation: int = 0
    unsaved_best: Tensors | None = None
    old_held_out: HeldOutText | None = None
    saving: Saving | None = None

    @property
    def architecture(self) -> Architecture:
        """The architecture of the network."""
        return self.trainer.network.architecture

    def model(self) -> Model:
        """Return the current averaged weights as a model."""
        arrays = self.trainer.averaged_arrays()
        sha256 = self.config.tokenizer_sha256
        return Model(
            self.directory, self.architecture, self.tokenizer, arrays, self.generation, sha256, lambda: self.config
        )


def make_session(
    directory: Path,
    config: RunConfig,
    tokenizer: Tokenizer,
    position: TrainingPosition,
    started: float,
    *,
    workers: Workers | None = None,
    weights: Tensors | None = None,
) -> Session:
    """Return a session for the encoded text in a directory.

    Args:
        config: the complete configuration (see `Session`).
        position: position at which training starts.
        started: `time.monotonic()` at which the clock of the run started.
        workers: threads to train with; created if None.
        weights: with which training begins; newly initialized if None.
    """
    options, plan = config.training, config.plan
    workers = workers or make_workers(options, plan.device)
    assert options.batch_size is not None
    network = initialized_network(config).to(plan.device)
    if weights is not None:
        network.load_arrays(weights)
    freeze(network, options.freeze, num_old_rows=config.parent.vocab_size if config.parent else 0)
    compile_steps(network, options, unit=tokenizer.unit, device=plan.device, precision=plan.precision)
    batches, noise = _open_training_text(directory, config, tokenizer)
    steps = [options.steps] if options.steps else []
    steps += [max(1, round(options.epochs * batches.steps_per_epoch))] if options.epochs else []
    seconds = seconds_for_steps(options.minutes, plan.evaluation_seconds, plan.final_size) if options.minutes else None
    vocabulary = tokenizer.vocabulary
    held_out = open_held_out(directory, tokenizer, plan, has_labels=bool(config.architecture.num_labels))
    evaluated = held_out.part(vocabulary, max_tokens=plan.max_valid_tokens)

    def evaluate() -> Validation:
        return validate(network, evaluated, vocabulary, workers=workers)

    old_held_out = open_old_text(directory, config.parent, tokenizer, plan)
    if old_held_out is not None:
        evaluate = with_old_loss(evaluate, network, old_held_out, vocabulary, workers=workers)
    trainer = Trainer(
        network=network,
        optimizers=make_optimizers(network, options),
        batches=batches,
        noise=noise,
        validate=evaluate if len(held_out) else None,
        options=options,
        precision=plan.precision,
        budget=Budget(steps=min(steps, default=None), seconds=seconds),
        evaluation_interval=plan.evaluation_interval,
        position=position,
        started=started,
        workers=workers,
        planned_speed=plan.training_tokens_per_second,
        final_size=plan.final_size,
    )
    return Session(directory, config, tokenizer, trainer, held_out, evaluated, old_held_out=old_held_out)


def initialized_network(config: RunConfig) -> Network:
    """Return the network with which a run begins, on the CPU: its seed determines the weights.

    An orthogonal matrix would depend on the number of threads in its last digits.
    """
    with torch.random.fork_rng(devices=[]), one_torch_thread():
        torch.manual_seed(config.seed)
        return Network(
            config.architecture,
            rates=RegularizationRates.of(config.training),
            initialization=config.asked.model,
        )


def make_workers(options: TrainingOptions, device: str) -> Workers:
    """Return one worker per core, or as many as `--threads` allows; one for a GPU, which parallelizes each operation itself."""
    cores = available_cores() if options.threads is None else options.threads
    return Workers(cores if device == "cpu" else 1)


def _open_training_text(directory: Path, config: RunConfig, tokenizer: Tokenizer) -> tuple[Batches, TokenNoise]:
    """Return batches and token noise over the memory-mapped training text."""
    options = config.training
    assert options.batch_size is not None
    ids = open_ids(directory / "train.bin", tokenizer)
    batches = make_batches(
        ids,
        tokenizer.vocabulary,
        unit=tokenizer.unit,
        batch_size=options.batch_size,
        bptt_length=options.bptt_length,
        carry_length=options.carry_length or 0,
        seed=options.seed,
        jitter=options.bptt_jitter,
        labels=read_labels(directory, "train") if config.architecture.num_labels else None,
    )
    return batches, TokenNoise(ids, options.token_noise, vocab_size=len(tokenizer.vocabulary))


def close_text(session: Session) -> None:
    """Close the text, so that its directory can be moved or removed; call `open_text` before training again."""
    del session.trainer.batches, session.trainer.noise
    session.held_out.ids = session.evaluated.ids = np.zeros(0, dtype=np.int64)
    if session.old_held_out is not None:
        session.old_held_out.ids = session.held_out.ids


def open_text(session: Session) -> None:
    """Reopen the text in the directory of the run."""
    trainer = session.trainer
    session.held_out.ids = session.evaluated.ids = open_ids(session.directory / "valid.bin", session.tokenizer)
    if session.old_held_out is not None:
        session.old_held_out.ids = open_ids(session.directory / OLD_VALID_FILE, session.tokenizer)
    trainer.batches, trainer.noise = _open_training_text(session.directory, session.config, session.tokenizer)


def run(
    session: Session, *, should_stop: Callable[[], bool], write_sample: Callable[[Model], str] | None = None
) -> Generator[Event, None, None]:
    """Train, and save checkpoints and the best model so far.

    Args:
        should_stop: called after each step; training stops when it returns True.
        write_sample: writes a text with a model, at each evaluation; None writes none.

    Yields:
        The events of the trainer; the files that belong to an event are written before it is yielded.

    Raises:
        TrainingError: if the loss stays infinite or NaN.
        StorageError: if the directory is gone, or the disk is still full an hour after training has ended.
    """
    saving = session.saving = Saving(session.directory)
    with (
        _errors_explained(session),
        _sampling(session, write_sample),
        memory_returned(),
        session.trainer.workers,
        contextlib.closing(session.trainer.learner),
        logging_to(session.config.training.log, session.directory, session.trainer.position.step) as log,
        contextlib.closing(session.trainer.run(should_stop)) as events,
    ):
        while True:
            with memory_kept(trim=False):  # only during training, not while the caller runs
                event = next(events, None)
                if event is None:
                    return
                _record(session, event)
                is_due = isinstance(event, CheckpointDue)
                failure = saving.attempt(partial(save, session), event.step, GOES_ON) if is_due else None
            if failure is not None:
                yield failure
            if isinstance(event, Stopped):
                yield from saving.finish(partial(save, session), event.step, should_stop)
            if not is_due:
                saving.append(event)
                log(event)
            yield event


@contextlib.contextmanager
def _sampling(session: Session, write_sample: Callable[[Model], str] | None) -> Iterator[None]:
    """Let the trainer draw a sample at each evaluation, without a reference to the session beyond the run."""
    trainer = session.trainer
    trainer.write_sample = None if write_sample is None else lambda: write_sample(session.model())
    try:
        yield
    finally:
        trainer.write_sample = None


@contextlib.contextmanager
def _errors_explained(session: Session) -> Iterator[None]:
    """Add to an error what is left on disk, and how to resume from it."""
    try:
        yield
    except CharnnError as error:
        if isinstance(error, StorageError):
            raise StorageError(f"{error}; {_what_is_left(session)}") from error
        advice = f"; {_resuming(session)}" if isinstance(error, LostRankError) else ""
        raise type(error)(f"{error}; the files saved in {session.directory} are intact{advice}") from error


def _what_is_left(session: Session) -> str:
    """Return what is left on disk of a run that could not be saved, and how to resume from it."""
    directory = session.directory
    if not is_model(directory):
        step = session.trainer.position.step
        return (
            f"{directory} was moved or deleted during training: what was learned up to step {step:,} since its last "
            "checkpoint is lost; if it was moved, resume with: charnn train --resume -o NEW_NAME"
        )
    return f"the files saved in {directory} are intact; {_resuming(session)}"


def _resuming(session: Session) -> str:
    run = shlex.quote(str(directory_of_run(session.directory, session.config)))
    return f"resume with: charnn train --resume -o {run}"


def _record(session: Session, event: Event) -> None:
    """Record the results of an event."""
    if isinstance(event, Evaluated):
        _record_results(session, event)
        if event.is_best:
            session.unsaved_best = session.trainer.averaged_arrays(temperature=event.temperature)
    if isinstance(event, Stopped):
        session.config.results.stopped = event.reason
        if session.config.results.best_step == 0 and event.step > 0:
            session.unsaved_best = session.trainer.averaged_arrays()  # better than the initialization
        # An interrupt does not wait for more than an evaluation takes.
        _measure_best_weights(session, session.evaluated if event.reason == "interrupted" else session.held_out)


def _record_results(session: Session, event: Evaluated) -> None:
    if event.is_best:
        results = session.config.results
        results.valid_loss_nats = results.selection_loss_nats = event.valid_loss_nats
        results.valid_margin_nats, results.temperature = None, event.temperature
        results.valid_num_tokens, results.best_step = event.num_tokens, event.step


def _measure_best_weights(session: Session, text: HeldOutText) -> None:
    """Compute the final metrics of the best weights."""
    old_text = session.old_held_out
    if not len(text) and old_text is None:
        return
    return_free_memory()
    with torch.random.fork_rng(devices=[]):  # initialization must not advance the generator of training
        network = Network(session.architecture).to(session.config.plan.device)
    network.load_arrays(session.unsaved_best or read_model(session.directory).weights)
    results, workers = session.config.results, session.trainer.workers
    if old_text is not None:
        results.old_loss_nats = loss_on(network, old_text, session.tokenizer.vocabulary, workers=workers)
    if not len(text):
        return
    label_ngrams = read_label_ngrams(
        session.directory, session.architecture.vocab_size, session.config.tokenizer_sha256
    )
    metrics = measure_final_metrics(
        network,
        text,
        session.tokenizer.vocabulary,
        ngrams=stored_ngrams(session.directory, session.config),
        label_ngrams=label_ngrams,
        workers=workers,
    )
    session.config.mixture_weights = metrics.mixture_weights
    results.valid_loss_nats, results.valid_margin_nats = metrics.loss_nats, metrics.margin_nats
    results.valid_num_tokens = metrics.num_tokens
    results.valid_loss_cold_nats = metrics.fixed_window_loss_nats
    results.mixture_loss_nats = metrics.mixture_loss_nats
    results.label_mixture_loss_nats = metrics.label_mixture_loss_nats
    results.label_mixture_weights = metrics.label_mixture_weights
    by_label = measure_labels(
        network,
        text,
        session.tokenizer.vocabulary,
        session.config.corpus.labels,
        ngrams=label_ngrams,
        tokens_per_evaluation=session.config.plan.max_valid_tokens,
        workers=workers,
    )
    if by_label is not None:
        results.label_accuracy, results.label_majority = by_label.accuracy, by_label.majority
        results.label_num_units, results.label_network_weight = by_label.num_units, by_label.network_weight
        results.label_ngram_weight = by_label.ngram_weight


def save(session: Session) -> None:
    """Save the best weights if they are new, then a checkpoint; both say how long the run has lasted."""
    position, tensors = session.trainer.checkpoint()
    results = session.config.results
    results.steps, results.seconds = position.step, round(position.seconds, 2)
    if session.unsaved_best is None:
        update_config(session.directory, session.config, generation=session.generation)
    else:
        session.generation = session.trainer.position.best_step
        write_model(session.directory, session.config, session.unsaved_best, generation=session.generation)
        session.unsaved_best = None
    write_training_state(session.directory, asdict(position), tensors, generation=position.step)
