"""Model directories: safetensors and JSON, validated on reading, replaced atomically on writing.

`config.json` and `model.safetensors` form one checkpoint, `training.json` and `training.safetensors` another.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.config.model import Direction
from charnn.errors import ModelError
from charnn.files import JsonObject, json_bytes, read_json, sha256_hex, staged, write_atomically, write_together
from charnn.ngrams.kneser_ney import NgramModel, from_arrays
from charnn.ngrams.spelling import Spelling, UniformSpelling, WordSpelling
from charnn.notices import notice_logger
from charnn.storage.checkpoint import FORMAT_VERSION, newest_checkpoint, packed_tensors, read_tensors
from charnn.storage.json_values import UNREADABLE, read_architecture, unreadable
from charnn.storage.run_files import BACKWARD, NGRAM_FILE, SPELLING_FILE, purpose_of
from charnn.storage.tensor_file import Tensors
from charnn.text.tokenizers import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from charnn.ngrams.context_index import TextIndex
    from charnn.storage.run_config import RunConfig

logger = notice_logger(__name__)

DEFAULT_ROOT = Path("runs")
MODEL_FILES, TRAINING_FILES = CHECKPOINT_FILES = (
    ("config.json", "model.safetensors"),
    ("training.json", "training.safetensors"),
)


@dataclass(frozen=True)
class Model:
    """A model read from disk.

    Args:
        path: the model directory.
        architecture: architecture of the network.
        tokenizer: the tokenizer, with its vocabulary.
        weights: fp32 arrays by name (see `expected_shapes`).
        generation: the training step of the weights.
        tokenizer_sha256: digest of the tokenizer that the weights belong to.
        read_config: reads the rest of `config.json`.
        label: the number of the label that was chosen, from 0; None for none.
        text_indices: of the training text, which adaptation builds once (see `charnn.storage.adaptation`) and only reads.
    """

    path: Path
    architecture: Architecture
    tokenizer: Tokenizer
    weights: Tensors
    generation: int
    tokenizer_sha256: str
    read_config: Callable[[], "RunConfig"] = field(repr=False, compare=False)
    label: int | None = None
    text_indices: list["TextIndex | None"] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def config(self) -> "RunConfig":
        """The content of `config.json`, read on first access, since inference does not need it. Raises ModelError."""
        return self.read_config()


def tokenizer_hash(files: dict[str, bytes]) -> str:
    """Return the SHA-256 of the files of a tokenizer, in alphabetical order."""
    return sha256_hex(*(files[name] for name in sorted(files)))


def find_model(path: str | None) -> Path:
    """Return the given model directory, or the newest under `runs/`.

    Raises:
        ModelError: if there is none.
    """
    if path is not None:
        return Path(path)
    configs = [file for file in DEFAULT_ROOT.glob("*/config.json") if not file.parent.name.startswith(".")]
    if not configs:
        raise ModelError(
            f"{DEFAULT_ROOT}/: no model in {Path.cwd()}; name its directory, or train one with: charnn train TEXT"
        )
    return max(configs, key=lambda file: file.stat().st_mtime).parent


def is_model(path: Path) -> bool:
    """Return whether a directory contains a model."""
    return (path / "config.json").exists()


def is_model_file(path: Path) -> bool:
    """Return whether a path is that of a file that belongs to a model."""
    return bool(purpose_of(path.name)) and is_model(path.parent)


def is_half_of_bidirectional(config: "RunConfig") -> bool:
    """Return whether a model is one direction of a bidirectional model."""
    return config.asked.model.direction == "both"


def write_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer to a model directory."""
    for name, content in tokenizer.files().items():
        write_atomically(path / name, content)


def write_model(path: Path, config: "RunConfig", weights: Tensors, *, generation: int) -> None:
    """Replace `config.json` and `model.safetensors` together.

    Args:
        config: content of `config.json`, except format version and generation.
        weights: arrays by name; written as fp32.
        generation: the training step of both files.
    """
    header = {
        "format_version": FORMAT_VERSION,
        "generation": generation,
        "tokenizer_sha256": config.tokenizer_sha256,
    }
    tensors = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in weights.items()}
    write_together(
        [
            (path / "model.safetensors", packed_tensors(tensors, header)),
            (path / "config.json", _config_bytes(config, generation)),
        ]
    )


def update_config(path: Path, config: "RunConfig", *, generation: int) -> None:
    """Replace `config.json` only."""
    write_atomically(path / "config.json", _config_bytes(config, generation))


def _config_bytes(config: "RunConfig", generation: int) -> bytes:
    return json_bytes({"format_version": FORMAT_VERSION, "generation": generation, **config.to_json()})


def write_training_state(path: Path, scalars: JsonObject, tensors: Tensors, *, generation: int) -> None:
    """Replace `training.json` and `training.safetensors` together: the state for resuming, in addition to the model."""
    header = {"format_version": FORMAT_VERSION, "generation": generation}
    write_together(
        [
            (path / "training.safetensors", packed_tensors(tensors, header)),
            (path / "training.json", json_bytes({**header, **scalars})),
        ]
    )


def write_ngrams(path: Path, ngrams: NgramModel, *, tokenizer_sha256: str) -> None:
    """Write the n-gram model of a network."""
    header = {"format_version": FORMAT_VERSION, "generation": 0, "tokenizer_sha256": tokenizer_sha256}
    arrays = {name: np.ascontiguousarray(array) for name, array in ngrams.arrays().items()}
    write_atomically(path / NGRAM_FILE, packed_tensors(arrays, header))


def read_ngrams(path: Path, vocab_size: int, *, tokenizer_sha256: str) -> NgramModel:
    """Read the n-gram model of a network.

    Raises:
        ModelError: if it is missing, damaged or belongs to another vocabulary.
    """
    file = path / NGRAM_FILE
    if not file.exists():
        raise ModelError(
            f"{file}: the n-gram model is missing; restore it, train a new run (without --ngram-order 0), or do without it"
        )
    arrays, header = read_tensors(file)
    if header.get("tokenizer_sha256") != tokenizer_sha256:
        raise ModelError(f"{file}: belongs to another tokenizer; restore the file that was saved with this model")
    try:
        return from_arrays(arrays, vocab_size)
    except ValueError as error:
        raise ModelError(f"{file}: {error}; restore the file that was saved with this model") from error


def write_spelling(path: Path, spelling: WordSpelling, *, tokenizer_sha256: str) -> None:
    """Write the spelling model."""
    header = {
        "format_version": FORMAT_VERSION,
        "generation": 0,
        "tokenizer_sha256": tokenizer_sha256,
        "characters": [ord(character) for character in spelling.characters],
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in spelling.arrays().items()}
    write_atomically(path / SPELLING_FILE, packed_tensors(arrays, header))


def read_spelling(model: Model) -> Spelling:
    """Return the spelling model for the unknown tokens of a model.

    Raises:
        ModelError: for a byte model; for a word model whose spelling model is missing, damaged or belongs to another tokenizer.
    """
    tokenizer = model.tokenizer
    num_characters = sum(len(token) == 1 for token in tokenizer.vocabulary.tokens)
    without = {"bins": "model of numbers, which have no spelling", "byte": "byte model, which has no unknown tokens"}
    if tokenizer.kind in without:
        raise ModelError(f"{model.path}: is a {without[tokenizer.kind]}; leave --spell out")
    if tokenizer.kind in ("char", "subword"):
        return UniformSpelling(num_characters, is_run=tokenizer.kind == "subword")
    if not (file := model.path / SPELLING_FILE).exists():
        raise ModelError(f"{file}: the spelling model is missing; train again without --no-spell, or leave --spell out")
    arrays, header = read_tensors(file)
    if header.get("tokenizer_sha256") != model.tokenizer_sha256:
        raise ModelError(f"{file}: belongs to another tokenizer; restore the file that was saved with this model")
    try:
        return WordSpelling.from_arrays([chr(code) for code in header["characters"]], arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file}: {error}; restore the file that was saved with this model") from error


def read_model(path: Path) -> Model:
    """Read and validate a model directory.

    Raises:
        ModelError: if a file is missing, damaged, has an unsupported version or belongs to another model.
    """
    content, tensors = _read_checkpoint(path, MODEL_FILES)
    file = f"{path}/config.json"
    try:
        architecture, sha256 = read_architecture(content["architecture"], file), str(content["tokenizer_sha256"])
    except UNREADABLE as error:
        raise unreadable(file, error) from error
    tokenizer_files = {name: (path / name).read_bytes() for name in _tokenizer_names(path)}
    if "tokenizer.json" not in tokenizer_files:
        raise ModelError(f"{path}/tokenizer.json: is missing; restore it or train again")
    if tokenizer_hash(tokenizer_files) != sha256:
        raise ModelError(
            f"{path}/tokenizer.json: is damaged or belongs to another model: its SHA-256 is "
            f"{tokenizer_hash(tokenizer_files)[:12]}, the weights were trained with "
            f"{sha256[:12]}; restore the tokenizer that was saved with this model"
        )
    tokenizer = load_tokenizer(str(path), tokenizer_files)
    _check_shapes(path, architecture, tokenizer, tensors)
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{path}/model.safetensors: {name} contains non-finite numbers; restore the file")
    generation = content["generation"]
    return Model(path, architecture, tokenizer, tensors, generation, sha256, lambda: _config_of(content, file))


def read_directed(path: Path, wanted: Direction | None) -> list[Model]:
    """Read the models of a directory for a direction: one model, or both of a bidirectional model, the forward one first.

    Args:
        wanted: the direction; None for the direction of the model itself, or forward for a bidirectional model.

    Raises:
        ModelError: if there is no model of that direction.
    """
    model = read_model(path)
    paths: dict[str, Path] = {model.architecture.direction: path}
    if is_model(path / BACKWARD):
        paths["backward"] = path / BACKWARD
    if wanted is None:
        return [model]
    names = ("forward", "backward") if wanted == "both" else (wanted,)
    for name in names:
        if name not in paths and is_half_of_bidirectional(model.config):
            raise ModelError(
                f"{path}: is a bidirectional model without its backward half; "
                f"train it with: charnn train --resume -o {shlex.quote(str(path))}"
            )
        if name not in paths:
            raise ModelError(
                f"{path}: is a {' and '.join(paths)} model, not a {name} one; "
                f"leave --direction {wanted} out, or train with --direction both"
            )
    return [model if paths[name] == path else read_model(paths[name]) for name in names]


def read_config(path: Path) -> "RunConfig":
    """Read and validate `config.json` only. Raises ModelError."""
    _refuse_non_models(path)
    file = path / "config.json"
    return _config_of(read_json(str(file), file.read_bytes(), FORMAT_VERSION), str(file))


def _config_of(content: JsonObject, file: str) -> "RunConfig":
    from charnn.storage.run_config import RunConfig  # imports the training options

    return RunConfig.from_json(content, file)


def read_training_state(path: Path) -> tuple[JsonObject, Tensors]:
    """Read the training state: scalars and tensors of the newest complete generation.

    Raises:
        ModelError: if it is missing or damaged.
    """
    return _read_checkpoint(path, TRAINING_FILES)


def _read_checkpoint(path: Path, names: tuple[str, str]) -> tuple[JsonObject, Tensors]:
    _refuse_non_models(path)
    checkpoint = newest_checkpoint(path, *names)
    return checkpoint.description, checkpoint.tensors


def _tokenizer_names(path: Path) -> list[str]:
    return [name for name in ("tokenizer.json", "tokenizer.model") if (path / name).exists()]


def _check_shapes(path: Path, architecture: Architecture, tokenizer: Tokenizer, tensors: Tensors) -> None:
    if architecture.vocab_size != len(tokenizer.vocabulary):
        raise ModelError(
            f"{path}: the tokenizer has {len(tokenizer.vocabulary)} tokens, the model {architecture.vocab_size}; "
            "restore the files that belong together"
        )
    shapes = {name: array.shape for name, array in tensors.items()}
    expected = expected_shapes(architecture)
    if shapes != expected:
        name = next(name for name in {**expected, **shapes} if shapes.get(name) != expected.get(name))
        raise ModelError(
            f"{path}/model.safetensors: {name} has shape {shapes.get(name)}, but config.json requires {expected.get(name)}; "
            "restore the files that belong together"
        )


def _refuse_non_models(path: Path) -> None:
    if not path.exists():
        raise ModelError(
            f"{path}: no such model directory (looked in {Path.cwd()}); check the name; by default, models are in runs/"
        )
    if path.is_file():
        raise ModelError(f"{path}: is a file; a model is a directory that charnn train creates: name the directory")
    if not (path / "config.json").exists() and not staged(path / "config.json").exists():
        names = ", ".join(sorted(child.name for child in path.iterdir())[:4]) or "nothing"
        raise ModelError(
            f"{path}: is not a model directory: it contains {names}, but no config.json; name one that charnn train created"
        )


def finish_interrupted_writes(path: Path) -> None:
    """Complete renames interrupted by a crash, so that each checkpoint is a complete generation before the next write.

    Raises:
        ModelError: if there is no complete generation.
    """
    for names in CHECKPOINT_FILES:
        files = [path / name for name in names]
        if any(staged(file).exists() for file in files):
            checkpoint = newest_checkpoint(path, *names)
            for file, stored in zip(files, checkpoint.files, strict=True):
                if stored != file:
                    stored.replace(file)
                staged(file).unlink(missing_ok=True)


def config_if_readable(model: Model) -> "RunConfig | None":
    """Return the content of `config.json`, or None if it holds what inference does without and cannot be read."""
    try:
        return model.config
    except ModelError:
        return None


def report_untrained(models: Sequence[Model]) -> None:
    """Log which models have their initial weights, of a run without a step."""
    for model in models:
        config = config_if_readable(model) if model.generation == 0 else None
        if config is not None and not config.results.steps:
            name = shlex.quote(str(model.path))
            advice = "train again" if config.training.slim else f"train it: charnn train --resume -o {name} --minutes 2"
            logger.info(
                f"{model.path}: is untrained (0 steps): its probabilities are those of random weights; {advice}"
            )


def with_backward_half(model: Model) -> list[Model]:
    """Return a model, and its backward half if it is bidirectional."""
    if model.architecture.direction == "forward" and is_model(model.path / BACKWARD):
        return read_directed(model.path, "both")
    return [model]
