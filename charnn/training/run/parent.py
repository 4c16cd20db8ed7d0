"""The model with which further training begins: what it decides, and its weights, as they begin with a larger vocabulary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from charnn.cells.ngram_embedding import table_sizes
from charnn.cells.parameters import expected_shapes
from charnn.cells.word_prefix import codes_of
from charnn.config import Architecture, ModelOptions, TextOptions, Unit
from charnn.config.further import OLD_ROWS, frozen_parts
from charnn.errors import ModelError, OptionError
from charnn.files import sha256_hex
from charnn.notices import notice_logger
from charnn.options import OptionValues, declared_options, flags_of, pick, refuse_unused
from charnn.storage.labels import without_labels
from charnn.storage.model_directory import Model, read_config, read_directed, read_model
from charnn.storage.run_config import ParentFacts, RunConfig
from charnn.storage.run_files import BACKWARD
from charnn.storage.tensor_file import Tensors
from charnn.text.corpus import open_ids
from charnn.text.kept_tokenizer import KeptTokenizer, with_unit
from charnn.text.stored_ids import ShardedIds
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.vocabulary import Vocabulary

logger = notice_logger(__name__)

OF_TOKENIZER = ("tokenizer", "pretokenized", "subword_model")
"""Text options that the earlier model decides."""
NOISE = 0.1
"""Standard deviation of the noise of a new output row, as a fraction of that of the old rows."""


@dataclass(frozen=True)
class Parent:
    """A model that is trained further.

    Args:
        model: the model.
        facts: what `config.json` records of it.
    """

    model: Model
    facts: ParentFacts

    def ids(self, split: str) -> npt.NDArray[np.unsignedinteger[Any]] | None:
        """Return the encoded text "train" or "valid" of the model (N,); None if it was not kept."""
        file = self.model.path / f"{split}.bin"
        return open_ids(file, self.model.tokenizer) if file.exists() else None


def read_parent(path: Path) -> Parent:
    """Read a model to train further. Raises ModelError."""
    model = read_model(path)
    sha256 = sha256_hex((path / "model.safetensors").read_bytes())
    facts = ParentFacts(
        path=str(path.resolve()),
        generation=model.generation,
        sha256=sha256,
        vocab_size=model.architecture.vocab_size,
        unit=model.tokenizer.unit,
    )
    return Parent(without_labels(model), facts)


def read_parent_of_backward_half(forward: ParentFacts) -> Parent:
    """Read the backward half of the bidirectional model with whose forward half a run began. Raises ModelError."""
    path = Path(forward.path)
    current = read_parent(path)
    if current.facts.sha256 != forward.sha256:
        raise ModelError(
            f"{path}: has changed since the forward half began with its weights, so the backward half cannot begin with it; "
            "restore it, or train a new run with --init-from"
        )
    return read_parent(path / BACKWARD)


def kept_tokenizer(parent: Parent, options: TextOptions, *, is_extended: bool) -> KeptTokenizer:
    """Return the tokenizer of a model for a text whose unit may be another one."""
    tokenizer = parent.model.tokenizer
    if options.unit != tokenizer.unit:
        tokenizer = with_unit(tokenizer, options.unit)
    return KeptTokenizer(tokenizer, str(parent.model.path), is_extended)


def options_of_parent(directory: Path, path: Path, options: OptionValues) -> tuple[TextOptions, ModelOptions]:
    """Return text and model options for further training: those that the earlier model decides are its own.

    Args:
        directory: of the new run.
        path: of the earlier model.
        options: as set by the user, by field name.

    Raises:
        ModelError: if there is no such model.
        OptionError: for an option that contradicts the model.
    """
    config = read_config(path)
    if directory.resolve() == path.resolve() or path.resolve() in directory.resolve().parents:
        raise OptionError(f"-o: found {directory}, the directory of --init-from; name another directory")
    direction = _direction(path, config)
    text, stored = config.asked.text, config.option_values()
    decided = {**stored["model"], **{name: stored["text"][name] for name in OF_TOKENIZER}, "direction": direction}
    asked = {**_values(config.asked.model), "direction": direction}
    for name in decided.keys() & options.keys():
        if options[name] not in (decided[name], asked.get(name, decided[name])):
            raise _contradiction(name, options[name], path, decided[name])
    unit = cast(Unit, options.get("unit", text.unit))
    if has_own_boundary(unit) != has_own_boundary(text.unit):
        raise _contradiction("unit", unit, path, text.unit)
    _check_new_tokens(text, options)
    kept = {name: getattr(text, name) for name in (*OF_TOKENIZER, "spell")}
    text_options = pick(TextOptions, {**kept, "unit": text.unit, **options})
    model_options = config.asked.model
    if model_options.direction != direction:
        model_options = replace(model_options, direction=direction)
    _check_frozen(config.architecture, options)
    return text_options, model_options


def _values(options: ModelOptions) -> OptionValues:
    return {name: getattr(options, name) for name in declared_options(ModelOptions)}


def _direction(path: Path, config: RunConfig) -> Any:
    """Return forward, backward or both. Raises ModelError if one of both is missing."""
    if config.asked.model.direction != "both" or config.architecture.direction == "backward":
        return config.architecture.direction
    read_directed(path, "both")
    return "both"


def _contradiction(name: str, value: object, path: Path, found: object) -> OptionError:
    declared = {**declared_options(TextOptions), **declared_options(ModelOptions)}
    flag = flags_of(name, declared[name][1])[-1]
    kept = "its default" if found is None else found
    return OptionError(f"{flag}: found {value}, but {path} has {kept}, which --init-from keeps; leave it out")


def _check_new_tokens(text: TextOptions, options: OptionValues) -> None:
    """Refuse `--extend-vocab` for tokenizers that cannot be extended, and its limits without it. Raises OptionError."""
    is_extended = bool(options.get("extend_vocab"))
    for name, flag in (("vocab_size", "--vocab-size"), ("min_count", "--min-count")):
        refuse_unused(f"{flag} with --init-from", name in options and not is_extended, "--extend-vocab")
    if is_extended and text.tokenizer == "bins":
        raise OptionError("--extend-vocab: the bins of numbers cannot be extended, since they cover all; leave it out")
    refuse_unused(
        "--extend-vocab", is_extended and text.tokenizer == "byte", "a model of characters or words (bytes need none)"
    )
    if is_extended and text.tokenizer == "subword":
        raise OptionError(
            "--extend-vocab: a SentencePiece model cannot be extended, since its pieces and their scores were fitted together; "
            "leave it out (new characters become <unk>), or train a new run without --init-from"
        )


def _check_frozen(shape: Architecture, options: OptionValues) -> None:
    """Refuse to freeze what the network does not have, or all of it. Raises OptionError."""
    parts = frozen_parts(str(options["freeze"])) if options.get("freeze") is not None else []
    for part in parts:
        number = part.removeprefix("layer-")
        if number != part and number.isdecimal() and int(number) > shape.num_layers:
            raise OptionError(f"--freeze: found {part}, but the last layer is layer-{shape.num_layers}; leave it out")
    one_hot = shape.inputs == "one-hot"
    refuse_unused("--freeze embedding", "embedding" in parts and one_hot, "--inputs embedding")
    refuse_unused(f"--freeze {OLD_ROWS}", OLD_ROWS in parts and one_hot, "--inputs embedding")
    refuse_unused("--freeze attention", "attention" in parts and not shape.attention_window, "a model with attention")
    layers = "layers" in parts or all(f"layer-{number + 1}" in parts for number in range(shape.num_layers))
    attention = "attention" in parts or not shape.attention_window
    if layers and attention and "output" in parts and ("embedding" in parts or one_hot):
        raise OptionError(f"--freeze: found {','.join(parts)}, which leaves nothing to train; leave one part out")


def architecture_of(parent: Parent, vocabulary: Vocabulary) -> Architecture:
    """Return the architecture of a model for a vocabulary that may be larger; old n-grams keep the rows of their embeddings."""
    shape = parent.model.architecture
    if len(vocabulary) == shape.vocab_size:
        return shape
    if shape.embedding_order == 1:
        return replace(shape, vocab_size=len(vocabulary))
    return replace(
        shape,
        vocab_size=len(vocabulary),
        ngram_table_sizes=table_sizes(shape),
        ngram_vocab_size=shape.numbered_vocab_size,
        word_codes=codes_of(vocabulary.tokens) if shape.word_rows else None,
    )


def first_weights(parent: Parent, vocabulary: Vocabulary, *, seed: int) -> Tensors:
    """Return the weights with which further training begins: those of the model, and rows for new tokens.

    A new row of the input embedding is drawn from a normal distribution with the mean and the standard deviation of the old
    rows, so that it differs from others as much as these do. A new row of the output layer is their mean with a tenth of that
    noise, so that no new token is improbable or probable in advance (Hewitt 2021, Initializing new word embeddings for
    pretrained language models), and its bias is that of an old token with the same frequency. Tied rows are output rows.

    Args:
        parent: the model.
        vocabulary: of the new run, with counts of both texts.
        seed: seed of the noise.
    """
    old, shape = parent.model.weights, architecture_of(parent, vocabulary)
    if shape == parent.model.architecture:
        return dict(old)
    random = np.random.default_rng([seed, 5])
    weights: Tensors = {}
    for name, size in expected_shapes(shape).items():
        array, scale = old[name], 1.0
        if name.startswith("output.") or shape.tie_weights:
            scale = NOISE
        for axis, (found, wanted) in enumerate(zip(array.shape, size, strict=True)):
            if found != wanted:
                array = _extended(array, axis, wanted, random, scale)
        weights[name] = array
    num_old = parent.model.architecture.vocab_size
    weights["output.bias"][num_old:] = _biases(old["output.bias"], vocabulary.counts)
    return weights


def _extended(
    array: npt.NDArray[Any], axis: int, size: int, random: np.random.Generator, scale: float
) -> npt.NDArray[np.float32]:
    """Return an array with more entries along an axis: the mean of the old ones with noise."""
    added = list(array.shape)
    added[axis] = size - array.shape[axis]
    mean, spread = array.mean(axis=axis, keepdims=True), array.std(axis=axis, keepdims=True)
    new = mean + scale * spread * random.standard_normal(added)
    return np.concatenate([array, new.astype(np.float32)], axis=axis)


def _biases(old: npt.NDArray[Any], counts: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return biases of new tokens: those that old tokens of the same frequency have on average.

    Args:
        old: of the old tokens (V,).
        counts: of old and new tokens.
    """
    log_counts = np.log(np.maximum(np.array(counts, dtype=np.float64), 0.5))
    weights = np.array(counts[: len(old)], dtype=np.float64) + 1
    offset = float(np.average(old - log_counts[: len(old)], weights=weights))
    assert math.isfinite(offset)
    return log_counts[len(old) :] + offset


def texts_of_both(parent: Parent, ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the encoded text of a model and a new one after it (N,), for counting n-grams; the new one alone if need be."""
    old = parent.ids("train")
    if old is None:
        logger.info(
            f"{parent.model.path}: has no train.bin (--slim), so the n-gram model is estimated on the new text alone"
        )
        return ids
    if old.dtype != ids.dtype:  # the vocabulary was extended
        old = np.asarray(old).astype(ids.dtype)
    return cast(npt.NDArray[Any], ShardedIds([old, ids]))
