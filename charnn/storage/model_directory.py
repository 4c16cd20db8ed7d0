"""What a model is on disk: safetensors and JSON, checked when read, replaced as a whole when written.

`config.json` and `model.safetensors` are one pair, `training.json` and `training.safetensors` another (see `pairs`).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from charnn.cells import Weights, known_cells, layer_shapes
from charnn.cells.ngram_embedding import num_rows
from charnn.config import Architecture
from charnn.config.model import Direction
from charnn.errors import ModelError
from charnn.files import json_bytes, read_json, sha256_hex, staged, write_atomically, write_together
from charnn.ngrams.kneser_ney import NgramModel, from_arrays
from charnn.ngrams.mixture import Mixture
from charnn.ngrams.spelling import Spelling, UniformSpelling, WordSpelling
from charnn.storage.checkpoint import FORMAT_VERSION, Tensors, newest_pair, pack_tensors, read_tensors
from charnn.text.tokenizers import Tokenizer, load_tokenizer

NGRAM_FILE = "ngram.safetensors"
SPELLING_FILE = "spelling.safetensors"
DEFAULT_ROOT = Path("runs")
BACKWARD = "backward"
"""Where, in the directory of a model that reads from left to right, its counterpart lies."""
FILES = {
    "config.json": "options, the text's files, results",
    "tokenizer.json": "the vocabulary",
    "tokenizer.model": "the vocabulary of subwords, as SentencePiece has it",
    "model.safetensors": "the weights; to write and score",
    NGRAM_FILE: "the n-gram model; for --mix-ngram and --resume",
    SPELLING_FILE: "how rare words are spelled; for --spell",
    "training.json": "where training stands; for --resume",
    "training.safetensors": "live weights, optimizer and carried state; for --resume",
    "metrics.jsonl": "what happened in training, one event a line",
    "train.bin": "the encoded text; for --resume, --novelty and --dynamic",
    "valid.bin": "the held-out text; for --resume and what is fitted to it",
}
"""What each file of a model's directory is for."""
MODEL_PAIR, TRAINING_PAIR = PAIRS = (("config.json", "model.safetensors"), ("training.json", "training.safetensors"))


@dataclass(frozen=True)
class Model:
    """A model as read from disk.

    Args:
        path: its directory.
        config: `config.json` (see `describe`).
        tokenizer: its vocabulary.
        weights: fp32 arrays by name (see `expected_shapes`).
    """

    path: Path
    config: dict[str, Any]
    architecture: Architecture
    tokenizer: Tokenizer
    weights: Tensors


def expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each weight."""
    shape = architecture
    shapes: dict[str, tuple[int, ...]] = {}
    if shape.inputs == "embedding":
        shapes["embedding.weight"] = (shape.vocab_size, shape.embedding_size)
    for order in range(2, shape.embedding_order + 1):
        shapes[f"embedding.{order}.weight"] = (num_rows(shape.vocab_size, order), shape.embedding_size)
    for layer in range(shape.num_layers):
        shapes |= {f"layers.{layer}.{name}": size for name, size in layer_shapes(shape, layer).items()}
    if not shape.tie_weights:
        shapes["output.weight"] = (shape.vocab_size, shape.output_size)
    shapes["output.bias"] = (shape.vocab_size,)
    return shapes


def layer_weights(weights: Tensors, layer: int) -> Weights:
    """Return one recurrent layer's parameters by name (see `layer_shapes`)."""
    prefix = f"layers.{layer}."
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def tokenizer_hash(files: dict[str, bytes]) -> str:
    """Return what ties weights to a vocabulary: the SHA-256 of the tokenizer's files in the order of their names."""
    return sha256_hex(*(files[name] for name in sorted(files)))


def find_model(given: str | None) -> Path:
    """Return the model directory that a user named, or the newest under `runs/`.

    Raises:
        ModelError: where there is none.
    """
    if given is not None:
        return Path(given)
    configs = [path for path in DEFAULT_ROOT.glob("*/config.json") if not path.parent.name.startswith(".")]
    if not configs:
        raise ModelError(
            f"{DEFAULT_ROOT}/: found no model below {Path.cwd()}; name one with -m RUN, or make one with: charnn train TEXT"
        )
    return max(configs, key=lambda path: path.stat().st_mtime).parent


def is_model(path: Path) -> bool:
    """Tell whether a directory holds a model."""
    return (path / "config.json").exists()


@dataclass(frozen=True)
class StoredFile:
    """A file of a model's directory: its name there, its size, and what it is for (empty for one that is not charnn's)."""

    name: str
    num_bytes: int
    purpose: str


def stored_files(path: Path) -> list[StoredFile]:
    """Return the files of a model's directory, the largest first, those of a backward half among them."""
    return sorted(
        (
            StoredFile(file.relative_to(path).as_posix(), file.stat().st_size, FILES.get(file.name, ""))
            for file in path.rglob("*")
            if file.is_file()
        ),
        key=lambda file: (-file.num_bytes, file.name),
    )


def is_of_a_pair(config: dict[str, Any]) -> bool:
    """Tell whether a model was begun as one half of a pair that reads from both sides."""
    return bool(config["options_given"]["model"].get("direction") == "both")


def write_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Write the vocabulary into a model directory."""
    for name, content in tokenizer.files().items():
        write_atomically(path / name, content)


def write_model(path: Path, config: dict[str, Any], weights: Tensors, *, generation: int) -> None:
    """Replace `config.json` and `model.safetensors` together.

    Args:
        config: what `config.json` says; the format version and generation are added.
        weights: arrays by name; written as fp32.
        generation: the training step that both files stand for.
    """
    header = {
        "format_version": FORMAT_VERSION,
        "generation": generation,
        "tokenizer_sha256": config["tokenizer_sha256"],
    }
    tensors = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in weights.items()}
    write_together(
        [
            (path / "model.safetensors", pack_tensors(tensors, header)),
            (
                path / "config.json",
                json_bytes({"format_version": FORMAT_VERSION, "generation": generation, **config}),
            ),
        ]
    )


def update_config(path: Path, config: dict[str, Any], *, generation: int) -> None:
    """Replace `config.json` alone, its weights staying as they are."""
    write_atomically(
        path / "config.json",
        json_bytes({"format_version": FORMAT_VERSION, "generation": generation, **config}),
    )


def write_training_state(path: Path, scalars: dict[str, Any], tensors: Tensors, *, generation: int) -> None:
    """Replace `training.json` and `training.safetensors` together: all that resuming needs beyond the model."""
    header = {"format_version": FORMAT_VERSION, "generation": generation}
    write_together(
        [
            (path / "training.safetensors", pack_tensors(tensors, header)),
            (path / "training.json", json_bytes({**header, **scalars})),
        ]
    )


def write_ngrams(path: Path, ngrams: NgramModel, *, tokenizer_sha256: str) -> None:
    """Write the n-gram model that stands beside the network."""
    header = {"format_version": FORMAT_VERSION, "generation": 0, "tokenizer_sha256": tokenizer_sha256}
    arrays = {name: np.ascontiguousarray(array) for name, array in ngrams.arrays().items()}
    write_atomically(path / NGRAM_FILE, pack_tensors(arrays, header))


def read_ngrams(path: Path, vocab_size: int, *, tokenizer_sha256: str) -> NgramModel:
    """Read the n-gram model beside a network.

    Raises:
        ModelError: where it is missing, damaged or of another vocabulary.
    """
    file = path / NGRAM_FILE
    if not file.exists():
        raise ModelError(
            f"{file}: is missing, the n-gram model; train again without --ngram-order 0, or leave it out of use"
        )
    arrays, header = read_tensors(file)
    if header.get("tokenizer_sha256") != tokenizer_sha256:
        raise ModelError(f"{file}: belongs to another tokenizer; restore the file that was saved with this model")
    try:
        return from_arrays(arrays, vocab_size)
    except ValueError as error:
        raise ModelError(f"{file}: {error}; restore the file that was saved with this model") from error


def write_spelling(path: Path, spelling: WordSpelling, *, tokenizer_sha256: str) -> None:
    """Write the model of how unknown words are spelled."""
    header = {
        "format_version": FORMAT_VERSION,
        "generation": 0,
        "tokenizer_sha256": tokenizer_sha256,
        "characters": [ord(character) for character in spelling.characters],
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in spelling.arrays().items()}
    write_atomically(path / SPELLING_FILE, pack_tensors(arrays, header))


def read_spelling(model: Model) -> Spelling:
    """Return what says how probable the spelling of an unknown token is.

    Raises:
        ModelError: where a model of words has none, or a damaged one, or another's; for bytes, which are all known.
    """
    tokenizer = model.tokenizer
    num_characters = sum(len(token) == 1 for token in tokenizer.vocabulary.tokens)
    if tokenizer.kind == "byte":
        raise ModelError(f"{model.path}: is a model of bytes, to which nothing is unknown; leave --spell out")
    if tokenizer.kind in ("char", "subword"):
        return UniformSpelling(num_characters, is_run=tokenizer.kind == "subword")
    file = model.path / SPELLING_FILE
    if not file.exists():
        raise ModelError(
            f"{file}: is missing, the model of spellings; train again without --no-spell, or leave --spell out"
        )
    arrays, header = read_tensors(file)
    if header.get("tokenizer_sha256") != model.config["tokenizer_sha256"]:
        raise ModelError(f"{file}: belongs to another tokenizer; restore the file that was saved with this model")
    try:
        return WordSpelling.from_arrays([chr(code) for code in header["characters"]], arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file}: {error}; restore the file that was saved with this model") from error


def read_mixture(model: Model) -> Mixture:
    """Read what `--mix-ngram` mixes a model's network with.

    Raises:
        ModelError: where the model has no n-gram model, or was not trained to the end.
    """
    weights = model.config.get("mixture_weights")
    if weights is None:
        reason = "its training has not ended, nothing was held out, or it was told --ngram-order 0"
        raise ModelError(
            f"{model.path}: has no n-gram model to mix with ({reason}); leave --mix-ngram out, or train to the end"
        )
    ngrams = read_ngrams(model.path, model.architecture.vocab_size, tokenizer_sha256=model.config["tokenizer_sha256"])
    if len(weights) != ngrams.order:
        raise ModelError(
            f"{model.path / NGRAM_FILE}: has order {ngrams.order}, config.json weights for {len(weights)}; "
            "restore the files that belong together"
        )
    return Mixture(ngrams, np.array(weights, dtype=np.float64))


def read_model(path: Path) -> Model:
    """Read and check a model directory.

    Raises:
        ModelError: naming what is missing, damaged, of another version or of another model.
    """
    config, tensors = _read_pair(path, MODEL_PAIR)
    tokenizer_files = {name: (path / name).read_bytes() for name in _tokenizer_names(path)}
    if "tokenizer.json" not in tokenizer_files:
        raise ModelError(f"{path}/tokenizer.json: is missing; restore it or train again")
    if tokenizer_hash(tokenizer_files) != config.get("tokenizer_sha256"):
        raise ModelError(
            f"{path}/tokenizer.json: is damaged or belongs to another model: its SHA-256 is "
            f"{tokenizer_hash(tokenizer_files)[:12]}, the weights were trained with "
            f"{str(config.get('tokenizer_sha256'))[:12]}; restore the tokenizer that was saved with this model"
        )
    tokenizer = load_tokenizer(str(path), tokenizer_files)
    architecture = _architecture(path, config)
    _check_shapes(path, architecture, tokenizer, tensors)
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{path}/model.safetensors: {name} holds numbers that are not finite; restore the file")
    return Model(path, config, architecture, tokenizer, tensors)


def read_directed(path: Path, wanted: Direction | None) -> list[Model]:
    """Read the models of a directory that read in a direction: one, or the two of a pair, forward first.

    Args:
        wanted: None for whatever direction the model itself has, forward of a pair.

    Raises:
        ModelError: where there is no model of that direction.
    """
    model = read_model(path)
    found: dict[str, Path] = {model.architecture.direction: path}
    if is_model(path / BACKWARD):
        found["backward"] = path / BACKWARD
    if wanted is None:
        return [model]
    names = ("forward", "backward") if wanted == "both" else (wanted,)
    for name in names:
        if name not in found and is_of_a_pair(model.config):
            raise ModelError(
                f"{path}: holds a pair whose backward half is not begun yet; go on with: charnn train --resume -o {path}"
            )
        if name not in found:
            raise ModelError(
                f"{path}: holds a model that reads {' and '.join(found)}, none that reads {name}; "
                f"leave --direction {wanted} out, or train a pair with --direction both"
            )
    return [model if found[name] == path else read_model(found[name]) for name in names]


def read_config(path: Path) -> dict[str, Any]:
    """Read and check `config.json` alone. Raises ModelError."""
    _refuse_non_models(path)
    file = path / "config.json"
    return read_json(str(file), file.read_bytes(), FORMAT_VERSION)


def read_training_state(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Read what resuming needs: scalars and tensors of the newest whole generation.

    Raises:
        ModelError: where it is missing or damaged.
    """
    return _read_pair(path, TRAINING_PAIR)


def _read_pair(path: Path, names: tuple[str, str]) -> tuple[dict[str, Any], Tensors]:
    _refuse_non_models(path)
    pair = newest_pair(path, *names)
    return pair.description, pair.tensors


def _tokenizer_names(path: Path) -> list[str]:
    return [name for name in ("tokenizer.json", "tokenizer.model") if (path / name).exists()]


def _architecture(path: Path, config: dict[str, Any]) -> Architecture:
    try:
        architecture = Architecture(**config["architecture"])
        cell = architecture.cell
        if isinstance(cell, str) and cell not in known_cells():
            raise ModelError(
                f"{path}: has the cell {cell!r}, which charnn does not know; if it is one of your own, call "
                f"charnn.register_cell({cell!r}, ...) first, otherwise restore config.json"
            )
        _check_architecture(architecture)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}/config.json: describes no model that charnn knows ({error}); restore the file"
        ) from error
    return architecture


MAY_BE_ZERO = ("skip", "mogrifier_rounds", "mogrifier_rank")


def _check_architecture(architecture: Architecture) -> None:
    """Raise ValueError where a value is none that its field can have."""
    hints = get_type_hints(Architecture)
    for name, value in asdict(architecture).items():
        if name == "cell":
            holds = value in known_cells()
        elif get_origin(hints[name]) is Literal:
            holds = value in get_args(hints[name])
        elif hints[name] is bool:
            holds = isinstance(value, bool)
        else:
            holds = isinstance(value, int) and value >= (0 if name in MAY_BE_ZERO else 1)
        if not holds:
            raise ValueError(f"unknown {name.replace('_', ' ')} {value!r}")


def _check_shapes(path: Path, architecture: Architecture, tokenizer: Tokenizer, tensors: Tensors) -> None:
    if architecture.vocab_size != len(tokenizer.vocabulary):
        raise ModelError(
            f"{path}: the tokenizer has {len(tokenizer.vocabulary)} tokens, the model {architecture.vocab_size}; "
            "restore the files that belong together"
        )
    found = {name: array.shape for name, array in tensors.items()}
    expected = expected_shapes(architecture)
    if found != expected:
        name = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
        raise ModelError(
            f"{path}/model.safetensors: {name} has shape {found.get(name)}, config.json wants {expected.get(name)}; "
            "restore the files that belong together"
        )


def _refuse_non_models(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path}: no such model directory (looked in {Path.cwd()}); check -m, or see what runs/ holds")
    if path.is_file():
        raise ModelError(f"{path}: is a file; a model is a directory, as charnn train makes it: name the directory")
    if not (path / "config.json").exists() and not staged(path / "config.json").exists():
        found = ", ".join(sorted(child.name for child in path.iterdir())[:4]) or "nothing"
        raise ModelError(
            f"{path}: is no model directory: found {found}, but no config.json; name one that charnn train made"
        )


def finish_interrupted_writes(path: Path) -> None:
    """Rename what a crash left staged into place, so that the next write starts from one whole generation of each pair.

    Raises:
        ModelError: where there is no whole generation.
    """
    for names in PAIRS:
        files = [path / name for name in names]
        if any(staged(file).exists() for file in files):
            pair = newest_pair(path, *names)
            for file, found in zip(files, pair.files, strict=True):
                if found != file:
                    found.replace(file)
                staged(file).unlink(missing_ok=True)


def with_backward_half(model: Model) -> list[Model]:
    """Return a model, and the backward half beside it where it is bidirectional."""
    if model.architecture.direction == "forward" and is_model(model.path / BACKWARD):
        return read_directed(model.path, "both")
    return [model]
