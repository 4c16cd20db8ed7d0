"""A training run and its model directory: begin one, or go on with one, and save what happens."""

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import charnn
from charnn.config import Architecture, ModelOptions, TextOptions, TrainingOptions, as_json, pick
from charnn.errors import CharnnError, ModelError, OptionError, StorageError
from charnn.files import explain_write_errors, staging_directory, write_atomically
from charnn.model_directory import (
    Model,
    Tensors,
    finish_interrupted_writes,
    is_model,
    read_config,
    read_model,
    read_ngrams,
    read_training_state,
    tokenizer_hash,
    update_config,
    write_model,
    write_ngrams,
    write_tokenizer,
    write_training_state,
)
from charnn.ngrams.kneser_ney import NgramModel
from charnn.text.corpus import Corpus, open_ids, prepare_corpus
from charnn.text.reading import Notify
from charnn.text.tokenizers import Tokenizer
from charnn.training.batches import make_batches
from charnn.training.devices import choose_device
from charnn.training.evaluation import Validation, held_out_part, validate
from charnn.training.events import CheckpointDue, Evaluated, Event, Stopped, event_json
from charnn.training.figures import count_beside, final_figures, read_held_out
from charnn.training.memory import keep_freed_memory
from charnn.training.network import Network
from charnn.training.optimizers import make_optimizers
from charnn.training.planning import (
    EVALUATIONS_AT_THE_END,
    SECONDS_TO_SAVE,
    Plan,
    make_plan,
    resolve_budget,
)
from charnn.training.schedule import Budget
from charnn.training.trainer import Position, Trainer

BUDGETS = ("minutes", "steps", "epochs")
CHANGEABLE_ON_RESUME = (*BUDGETS, "patience", "learning_rate", "save_every")


@dataclass
class Session:
    """A run that is ready to train.

    Args:
        directory: the model directory.
        config: what `config.json` says, without format version and generation.
        tokenizer: its vocabulary.
        trainer: at its position.
        generation: that of the weights on disk.
        unsaved_best: the best weights so far, where they are not on disk yet.
        ngrams: the n-gram model beside the network, if there is one.
        held_out: the held-out tokens that an evaluation reads (N,).
    """

    directory: Path
    config: dict[str, Any]
    tokenizer: Tokenizer
    trainer: Trainer
    generation: int = 0
    unsaved_best: Tensors | None = None
    ngrams: NgramModel | None = None
    held_out: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return self.trainer.network.architecture

    def model(self) -> Model:
        """Return the network as it is now, as if read from disk."""
        arrays = self.trainer.averaged_arrays()
        return Model(self.directory, self.config, self.architecture, self.tokenizer, arrays)


def begin(
    directory: Path,
    texts: Sequence[str],
    *,
    text_options: TextOptions,
    model_options: ModelOptions,
    training_options: TrainingOptions,
    overwrite: bool,
    started: float,
    notify: Notify,
) -> Session:
    """Read the texts and set up a new run in `directory`; what lies there stays until the new run is whole.

    Args:
        overwrite: replace a model that lies there.
        started: `time.monotonic()` from which the time budget counts.
        notify: told what a user should know.

    Raises:
        CharnnError: for anything wrong with what was given; the directory is then as it was.
    """
    _refuse_to_destroy(directory, overwrite)
    options = resolve_budget(training_options)
    device = choose_device(options.device)
    torch.manual_seed(options.seed)
    with staging_directory(directory) as staging:
        corpus = prepare_corpus(staging, texts, text_options, seed=options.seed, notify=notify)
        plan = make_plan(model_options, options, corpus=corpus, device=device, notify=notify)
        config = _make_config(corpus, text_options, model_options, training_options, plan)
        session = _make_session(staging, config, corpus.tokenizer, Position(), started)
        write_tokenizer(staging, corpus.tokenizer)
        if plan.ngram_order:
            _count_ngrams(session, plan, options)
        session.unsaved_best = session.trainer.averaged_arrays()
        _save(session)
    session.directory = directory
    return session


def resume(directory: Path, given: dict[str, Any], *, started: float, notify: Notify) -> Session:
    """Go on with a run from its last checkpoint, bit for bit.

    Args:
        given: options named on the command line; only budgets, patience and learning rate may differ from before.
        started: `time.monotonic()` now.
        notify: told where the run cannot go on as it was.

    Raises:
        ModelError: where there is nothing to resume.
        OptionError: for an option that cannot change.
    """
    if not is_model(directory):
        raise ModelError(f"{directory}: found no run to resume; leave --resume out to begin one")
    finish_interrupted_writes(directory)
    model = read_model(directory)
    config = {key: value for key, value in model.config.items() if key not in ("format_version", "generation")}
    options, changed = _changed_options(config, given)
    scalars, tensors = read_training_state(directory)
    config["options"]["training"] = as_json(options)
    _check_corpus(directory, config, model.tokenizer)
    _keep_device(config["plan"], notify)
    position = Position(**{name: scalars[name] for name in asdict(Position())})
    session = _make_session(directory, config, model.tokenizer, position, started - position.seconds)
    session.generation = model.config["generation"]
    if config["plan"].get("ngram_order"):
        session.ngrams = read_ngrams(
            directory, model.architecture.vocab_size, tokenizer_sha256=config["tokenizer_sha256"]
        )
    session.trainer.restore(scalars, tensors)
    trainer = session.trainer
    progress = trainer.budget.progress(position.step, position.seconds)
    if changed:
        trainer.position.next_evaluation = progress + trainer.evaluation_interval
    if trainer.budget.seconds is not None and config["results"]["valid_loss_nats"] is not None:
        trainer.position.best_loss_nats = config["results"]["valid_loss_nats"]
        trainer.position.best_step = config["results"]["best_step"]
    config["results"]["stopped"] = None
    if progress >= 1:
        raise ModelError(
            f"{directory}: has spent its budget ({position.step:,} steps, {position.seconds:.0f} s); "
            f"to go on give it more than that, e.g. --resume {_larger_budget(options, position)}"
        )
    trainer.position.num_stale = 0 if changed else trainer.position.num_stale
    _forget_metrics_after(directory, position.step)
    return session


def _count_ngrams(session: Session, plan: Plan, options: TrainingOptions) -> None:
    tokenizer = session.tokenizer
    session.ngrams = count_beside(
        open_ids(session.directory / "train.bin", tokenizer),
        tokenizer.vocabulary,
        order=plan.ngram_order,
        unit=tokenizer.unit,
        seconds=options.minutes * 60 if options.minutes else None,
    )
    write_ngrams(session.directory, session.ngrams, tokenizer_sha256=session.config["tokenizer_sha256"])
    session.config["results"]["ngram_order"] = session.ngrams.order
    if len(session.held_out):
        reading = read_held_out(session.ngrams, session.held_out, tokenizer.vocabulary, unit=tokenizer.unit)
        session.config["results"]["ngram_loss_nats"] = -float(np.log(reading.probs).mean())


def _changed_options(config: dict[str, Any], given: dict[str, Any]) -> tuple[TrainingOptions, bool]:
    before = {name: value for group in config["options"].values() for name, value in group.items()}
    asked = {name: value for group in config["options_given"].values() for name, value in group.items()}
    for name, value in given.items():
        if name not in CHANGEABLE_ON_RESUME and value not in (before[name], asked[name]):
            flag = "--" + name.replace("_", "-")
            raise OptionError(
                f"{flag}: found {value}, but the run to resume was begun with {before[name]}; leave it out"
            )
    options = pick(TrainingOptions, config["options"]["training"])
    changes = {name: value for name, value in given.items() if name in CHANGEABLE_ON_RESUME}
    if any(name in changes for name in BUDGETS):
        changes = {**dict.fromkeys(BUDGETS), **changes}
    resumed = replace(options, **changes)
    return resumed, any(getattr(resumed, name) != getattr(options, name) for name in BUDGETS)


def _check_corpus(directory: Path, config: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Refuse to train on a damaged encoded text. Raises ModelError."""
    for split in ("train", "valid"):
        file, expected = directory / f"{split}.bin", config["corpus"][split]["num_tokens"]
        found = len(open_ids(file, tokenizer)) if file.exists() else 0
        if found != expected:
            raise ModelError(
                f"{file}: holds {found:,} tokens, the run was begun with {expected:,}; restore the file, or begin anew"
            )


def _keep_device(plan: dict[str, Any], notify: Notify) -> None:
    """Go on with the device of before; where it is gone, on the processor, in fp32."""
    if plan["device"] == "cuda" and choose_device("auto") == "cpu":
        notify("the run was begun on a GPU and there is none: going on on the processor, in fp32")
        plan.update(device="cpu", precision="fp32", bf16_speedup=None)


def _larger_budget(options: TrainingOptions, position: Position) -> str:
    """Return twice what was spent, in the budget's own unit."""
    if options.minutes:
        return f"--minutes {max(0.1, position.seconds / 30):.2g}"
    return f"--steps {position.step * 2}" if options.steps else f"--epochs {2 * (position.epoch + 1)}"


def _refuse_to_destroy(directory: Path, overwrite: bool) -> None:
    if not directory.exists() or (overwrite and is_model(directory)):
        return
    if is_model(directory):
        stopped = read_config(directory).get("results", {}).get("stopped")
        state = "a finished" if stopped in ("budget", "patience") else "an unfinished"
        raise ModelError(
            f"{directory}: holds {state} model; go on with it (--resume), replace it (--overwrite), or name another place (-o)"
        )
    if directory.is_file() or any(directory.iterdir()):
        raise ModelError(f"{directory}: exists and is no model of charnn's; name another place with -o")


def _make_config(
    corpus: Corpus,
    text_options: TextOptions,
    model_options: ModelOptions,
    training_options: TrainingOptions,
    plan: Plan,
) -> dict[str, Any]:
    shape = asdict(plan.architecture)
    model = replace(model_options, **{name: shape[name] for name in as_json(model_options)})
    return {
        "charnn_version": charnn.__version__,
        "torch_version": torch.__version__,
        "python_version": platform.python_version(),
        "seed": plan.options.seed,
        "architecture": shape,
        "options": {
            "text": as_json(text_options),
            "model": as_json(model),
            "training": as_json(plan.options),
        },
        "options_given": {
            "text": as_json(text_options),
            "model": as_json(model_options),
            "training": as_json(training_options),
        },
        "plan": plan.facts(),
        "tokenizer_sha256": tokenizer_hash(corpus.tokenizer.files()),
        "corpus": {"files": corpus.files, "train": asdict(corpus.train), "valid": asdict(corpus.valid)},
        "mixture_weights": None,
        "results": {
            "valid_loss_nats": None,
            "valid_loss_cold_nats": None,
            "ngram_loss_nats": None,
            "ngram_order": 0,
            "mixture_loss_nats": None,
            "temperature": 1.0,
            "valid_num_tokens": 0,
            "best_step": 0,
            "steps": 0,
            "seconds": 0.0,
            "stopped": None,
        },
    }


def _make_session(
    directory: Path, config: dict[str, Any], tokenizer: Tokenizer, position: Position, started: float
) -> Session:
    keep_freed_memory()
    options = pick(TrainingOptions, config["options"]["training"])
    plan = config["plan"]
    if "num_threads" in plan and plan["device"] == "cpu":
        torch.set_num_threads(min(plan["num_threads"], torch.get_num_threads()))
    assert options.batch_size is not None
    assert options.dropout is not None
    network = Network(
        Architecture(**config["architecture"]), dropout=options.dropout, ngram_dropout=options.ngram_dropout or 0.0
    ).to(plan["device"])
    batches = make_batches(
        open_ids(directory / "train.bin", tokenizer),
        tokenizer.vocabulary,
        unit=tokenizer.unit,
        num_lanes=options.batch_size,
        bptt_length=options.bptt_length,
        seed=options.seed,
    )
    steps = [options.steps] if options.steps else []
    steps += [max(1, round(options.epochs * batches.steps_per_epoch))] if options.epochs else []
    reserved = SECONDS_TO_SAVE + EVALUATIONS_AT_THE_END * plan["evaluation_seconds"]
    seconds = max(options.minutes * 60 - reserved, options.minutes * 30) if options.minutes else None
    held_out = held_out_part(
        open_ids(directory / "valid.bin", tokenizer),
        tokenizer.vocabulary,
        unit=tokenizer.unit,
        max_tokens=plan["max_valid_tokens"],
    )

    def read_validation() -> Validation:
        return validate(network, held_out, tokenizer.vocabulary, unit=tokenizer.unit)

    trainer = Trainer(
        network=network,
        optimizers=make_optimizers(network, options),
        batches=batches,
        validate=read_validation if len(held_out) else None,
        options=options,
        precision=plan["precision"],
        budget=Budget(steps=min(steps, default=None), seconds=seconds),
        evaluation_interval=plan["evaluation_interval"],
        position=position,
        started=started,
    )
    return Session(directory, config, tokenizer, trainer, held_out=held_out)


def run(session: Session, *, should_stop: Callable[[], bool]) -> Iterator[Event]:
    """Train, saving the model where it is the best so far and the state of training often enough.

    Yields:
        The trainer's events, after what they call for is on disk.

    Raises:
        TrainingError: where the loss stays infinite; StorageError: where the disk is full.
    """
    directory = session.directory
    try:
        for event in session.trainer.run(should_stop):
            if isinstance(event, Evaluated):
                _note_results(session, event)
                if event.is_best:
                    session.unsaved_best = session.trainer.averaged_arrays(temperature=event.temperature)
            if isinstance(event, Stopped):
                session.config["results"]["stopped"] = event.reason
                _note_effort(session)
                if session.config["results"]["best_step"] == 0 and event.step > 0:
                    session.unsaved_best = session.trainer.averaged_arrays()  # better than what training began with
                _note_figures(session)
            if isinstance(event, (CheckpointDue, Stopped)):
                _save(session)
            if not isinstance(event, CheckpointDue):
                _append_metrics(directory, event)
            yield event
    except CharnnError as error:
        advice = f"; go on with: charnn train --resume -o {directory}" if isinstance(error, StorageError) else ""
        raise type(error)(f"{error}; what was saved in {directory} is whole{advice}") from error


def _note_results(session: Session, event: Evaluated) -> None:
    if event.is_best:
        results = {
            "valid_loss_nats": event.valid_loss_nats,
            "temperature": event.temperature,
            "valid_num_tokens": event.num_tokens,
            "best_step": event.step,
        }
        session.config["results"].update(results)
    _note_effort(session)


def _note_figures(session: Session) -> None:
    """Measure the best weights, once training is over: from empty states, and mixed with the n-gram model."""
    if not len(session.held_out):
        return
    with torch.random.fork_rng(devices=[]):  # what a new network draws must not change how training goes on
        network = Network(session.architecture).to(session.config["plan"]["device"])
    network.load_arrays(session.unsaved_best or read_model(session.directory).weights)
    tokenizer = session.tokenizer
    figures = asdict(
        final_figures(network, session.ngrams, session.held_out, tokenizer.vocabulary, unit=tokenizer.unit)
    )
    session.config["mixture_weights"] = figures.pop("mixture_weights")
    session.config["results"].update(figures)


def _note_effort(session: Session) -> None:
    position = session.trainer.position
    session.config["results"].update(steps=position.step, seconds=round(session.trainer.seconds(), 2))


def _save(session: Session) -> None:
    """Save the best weights where they are new, and the state of training after them."""
    if session.unsaved_best is None:
        update_config(session.directory, session.config, generation=session.generation)
    else:
        session.generation = session.trainer.position.best_step
        write_model(session.directory, session.config, session.unsaved_best, generation=session.generation)
        session.unsaved_best = None
    scalars, tensors = session.trainer.checkpoint()
    write_training_state(session.directory, scalars, tensors, generation=scalars["step"])


def _append_metrics(directory: Path, event: Event) -> None:
    path = directory / "metrics.jsonl"
    with explain_write_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**event_json(event), "time": round(time.time(), 3)}) + "\n")


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
