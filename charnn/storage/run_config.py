"""The configuration of a run: the content of `config.json` as dataclasses.

`RunConfig` stores each value once. The file repeats some of them (the sizes of the network and the seed are also in `options`),
because tools read them there: `RunConfig.to_json` writes all of them, `RunConfig.from_json` reads each from one key and
migrates files in older formats.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

from charnn import __version__
from charnn.config import Architecture, ModelOptions, TextOptions, TrainingOptions, Unit
from charnn.errors import ModelError
from charnn.files import JsonObject
from charnn.ngrams.mixture import linear_weights
from charnn.options import Checked, OptionValues, as_json
from charnn.storage.checkpoint import FORMAT_VERSION
from charnn.storage.json_values import UNREADABLE, check_values, names_of, read_architecture, unreadable
from charnn.text.facts import LabelFacts, SplitSize, TextFile

_GROUPS = {"text": TextOptions, "model": ModelOptions, "training": TrainingOptions}
_LATER_FIELDS = ("ngram_vocab_size", "num_labels", "word_rows", "word_codes")
_RETIRED_OF_PLAN = {"num_threads", "num_evaluations"}
"""Obsolete keys of older files."""
_UNKNOWN_VERSION = "unknown"


@dataclass(frozen=True)
class Versions:
    """The versions with which a run was started."""

    charnn: str = _UNKNOWN_VERSION
    torch: str = _UNKNOWN_VERSION
    python: str = _UNKNOWN_VERSION


@dataclass(frozen=True)
class AskedOptions:
    """The options as set by the user; None if chosen automatically."""

    text: TextOptions
    model: ModelOptions
    training: TrainingOptions


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """Decisions before the first step, apart from architecture and options.

    Args:
        device: cpu or cuda (the option may be auto).
        precision: fp32 or bf16 (the option may be auto).
        bf16_speedup: speedup of bf16 over fp32, if bf16 was chosen by timing.
        expected_epochs: epochs that the budget was expected to allow; None in runs of older versions.
        training_tokens_per_second: measured speed.
        evaluation_interval: progress between two evaluations, from 0 to 1.
        max_valid_tokens: number of held-out tokens per evaluation.
        final_valid_tokens: number of held-out tokens on which the final metrics are measured; 0 in runs of older versions.
        ngram_order: planned order of the n-gram model, 0 for none. The actual order may be lower (`Results.ngram_order`).
        evaluation_seconds: expected duration of an evaluation.
        job: identifies the job of several processes that started the run; None for a process alone.
    """

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    bf16_speedup: float | None = None
    expected_epochs: float | None = None
    training_tokens_per_second: int | None = None
    evaluation_interval: float
    max_valid_tokens: int
    final_valid_tokens: int = 0
    ngram_order: int = 0
    evaluation_seconds: float
    job: str | None = None

    @property
    def final_size(self) -> float:
        """The tokens on which the final metrics are measured, as a multiple of those of an evaluation."""
        return max(self.final_valid_tokens / self.max_valid_tokens, 1.0) if self.max_valid_tokens else 1.0


@dataclass(frozen=True)
class CorpusFacts:
    """The files of the text, the sizes of its two splits, and the labels of its units, the most frequent one first."""

    files: list[TextFile]
    train: SplitSize
    valid: SplitSize
    labels: list[LabelFacts] = field(default_factory=list)

    def size(self, split: str) -> SplitSize:
        """Return the size of "train" or "valid"."""
        return {"train": self.train, "valid": self.valid}[split]


@dataclass(frozen=True, kw_only=True)
class ParentFacts:
    """The model with whose weights a run began.

    Args:
        path: its directory, absolute.
        generation: the training step of its weights.
        sha256: digest of its `model.safetensors`.
        vocab_size: the tokens of its vocabulary, whose ids the model keeps.
        unit: of its text.
    """

    path: str
    generation: int
    sha256: str
    vocab_size: int
    unit: Unit


FINISHED = ("budget", "patience")
"""Why training ended, of a run that was not interrupted."""


@dataclass
class Results:
    """Results of training; losses in nats per token, None before they are measured.

    Args:
        valid_loss_nats: validation loss of the best weights, over `valid_num_tokens` tokens.
        valid_margin_nats: half the width of its 95 % confidence interval; None if the text is too short for one.
        selection_loss_nats: loss of the best weights in the evaluation that selected them, over `max_valid_tokens` tokens.
        valid_loss_cold_nats: fixed-window loss: over windows that start from the initial state.
        ngram_loss_nats: loss of the n-gram model of order `ngram_order` (0 for none).
        mixture_loss_nats: loss of the network interpolated with the n-gram model.
        label_accuracy: fraction of `label_num_units` held-out units whose label is the most probable one, by Bayes.
        label_majority: fraction of them whose label is the most frequent one of the training part.
        label_network_weight, label_ngram_weight: factors of log P(unit | label) of the network and of the n-gram models of
            labels, fitted to these units.
        label_mixture_loss_nats: loss of held-out units with labels, interpolated with the n-gram models of their labels, too.
        label_mixture_weights: of what is interpolated with these last, by length of the matched n-gram context.
        temperature: softmax temperature fitted to the held-out text.
        old_loss_before_nats, old_loss_nats: loss on held-out text of the parent, before training and of the best weights.
        best_step: step of the best validation loss.
        steps, seconds: duration of training.
        stopped: why training ended, None while it is running.
    """

    valid_loss_nats: float | None = None
    valid_margin_nats: float | None = None
    selection_loss_nats: float | None = None
    valid_loss_cold_nats: float | None = None
    ngram_loss_nats: float | None = None
    ngram_order: int = 0
    mixture_loss_nats: float | None = None
    old_loss_before_nats: float | None = None
    old_loss_nats: float | None = None
    label_accuracy: float | None = None
    label_majority: float | None = None
    label_num_units: int = 0
    label_network_weight: float = 1.0
    label_ngram_weight: float = 0.0
    label_mixture_loss_nats: float | None = None
    label_mixture_weights: list[list[float]] | None = None
    temperature: float = 1.0
    valid_num_tokens: int = 0
    best_step: int = 0
    steps: int = 0
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether training ended by itself."""
        return self.stopped in FINISHED


@dataclass(kw_only=True)
class RunConfig:
    """The content of `config.json`.

    Args:
        architecture: the network's resolved architecture.
        asked: the options as set by the user.
        training: the resolved training options. Text options need no resolution, and model options follow from the
            architecture.
        plan: further decisions before the first step.
        tokenizer_sha256: digest of the tokenizer that the weights belong to.
        corpus: files and sizes of the text.
        versions: versions with which the run was started.
        mixture_weights: of the network and the n-gram model by length of the matched context, see `Mixture`.
        results: results of training.
        recipe: name of the recipe, if any.
        parent: the model that was trained further, if any.
        later_options: options that did not exist when the run was started; not written.
    """

    architecture: Architecture
    asked: AskedOptions
    training: TrainingOptions
    plan: PlanFacts
    tokenizer_sha256: str
    corpus: CorpusFacts
    versions: Versions
    mixture_weights: list[list[float]] | None = None
    results: Results = field(default_factory=Results)
    recipe: str | None = None
    parent: ParentFacts | None = None
    later_options: frozenset[str] = frozenset()

    @property
    def seed(self) -> int:
        """The random seed of the run."""
        return self.training.seed

    def option_values(self) -> dict[str, OptionValues]:
        """Return the resolved options by group and name, as in `config.json`."""
        shape, model = asdict(self.architecture), as_json(self.asked.model)
        return {
            "text": as_json(self.asked.text),
            "model": model | {name: shape[name] for name in model if name in shape},
            "training": as_json(self.training),
        }

    def to_json(self) -> JsonObject:
        """Return the content of `config.json`, except format version and generation."""
        return {
            **{f"{name}_version": version for name, version in asdict(self.versions).items()},
            "seed": self.seed,
            "architecture": _without_unset(asdict(self.architecture), *_LATER_FIELDS),
            "options": self.option_values(),
            "options_given": {name: as_json(getattr(self.asked, name)) for name in _GROUPS},
            "plan": asdict(self.plan),
            "tokenizer_sha256": self.tokenizer_sha256,
            "corpus": {
                "files": [_file_json(file) for file in self.corpus.files],
                "train": asdict(self.corpus.train),
                "valid": asdict(self.corpus.valid),
                **({"labels": [asdict(each) for each in self.corpus.labels]} if self.corpus.labels else {}),
            },
            "mixture_weights": self.mixture_weights,
            "results": self._results_json(),
            "recipe": self.recipe,
            **({} if self.parent is None else {"parent": asdict(self.parent)}),
        }

    def _results_json(self) -> JsonObject:
        results = asdict(self.results)
        unset = {each.name: each.default for each in fields(Results) if each.name.startswith("label_")}
        return {name: value for name, value in results.items() if name not in unset or value != unset[name]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], file: str) -> "RunConfig":
        """Make a configuration from the content of `config.json`, in the current format or an older one.

        Args:
            content: the JSON object, with a format version that is not newer than `FORMAT_VERSION`.
            file: its path, for messages.

        Raises:
            ModelError: if a value is missing or invalid, or if a file of the current format has unknown keys, written by a
                newer charnn.
        """
        try:
            if content["format_version"] == FORMAT_VERSION:
                _refuse_unknown(content, file)
            later_options = _later_options(content["options"])
            content = _migrated(content)
            check_values(cls, {name: content[name] for name in _PLAIN if name in content})
            return cls(
                architecture=read_architecture(content["architecture"], file),
                asked=AskedOptions(
                    **{name: _part(group, content["options_given"][name]) for name, group in _GROUPS.items()}
                ),
                training=_part(TrainingOptions, content["options"]["training"]),
                plan=_part(PlanFacts, content["plan"]),
                tokenizer_sha256=content["tokenizer_sha256"],
                corpus=_corpus(content["corpus"]),
                versions=Versions(*(str(content.get(key, _UNKNOWN_VERSION)) for key in _VERSION_KEYS)),
                mixture_weights=content.get("mixture_weights"),
                results=_part(Results, content["results"]),
                recipe=content.get("recipe"),
                parent=_part(ParentFacts, content["parent"]) if content.get("parent") is not None else None,
                later_options=later_options,
            )
        except UNREADABLE as error:
            raise unreadable(file, error) from error


LABEL_WEIGHTS = "label_mixture_weights"
_PLAIN = ("tokenizer_sha256", "mixture_weights", "recipe")
_VERSION_KEYS = [f"{each.name}_version" for each in fields(Versions)]
_TOP_LEVEL = {
    *_VERSION_KEYS,
    *("format_version", "generation", "seed", "options", "options_given"),
    *(each.name for each in fields(RunConfig) if each.name not in ("asked", "training", "versions", "later_options")),
}


def _migrated(content: Mapping[str, Any]) -> JsonObject:
    """Convert the content of a file from an older format to the current one.

    Missing keys take their defaults, which mean the old behavior: an architecture without `embedding_order` has no n-gram
    embeddings, results without a temperature have temperature 1. Mixture weights of the network alone are those of a linear
    interpolation.
    """
    options, plan = content["options"], dict(content["plan"])
    if "evaluation_interval" not in plan and "num_evaluations" in plan:  # stored by the first version instead
        plan["evaluation_interval"] = 1 / plan["num_evaluations"]
    # In runs without this key, there was no n-gram dropout.
    training = {"ngram_dropout": 0.0, **options["training"]}
    asked = {**options, **content.get("options_given", {})}  # the first version stored the resolved options only
    results, weights = content["results"], _mixture_weights(content.get("mixture_weights"))
    if LABEL_WEIGHTS in results:
        results = {**results, LABEL_WEIGHTS: _mixture_weights(results[LABEL_WEIGHTS])}
    changed: JsonObject = {"options": {**options, "training": training}, "options_given": asked, "plan": plan}
    return {**content, **changed, "mixture_weights": weights, "results": results}


def _mixture_weights(values: Any) -> Any:
    is_linear = isinstance(values, list) and bool(values) and all(isinstance(each, int | float) for each in values)
    return linear_weights(values) if is_linear else values


def _refuse_unknown(content: Mapping[str, Any], file: str) -> None:
    """Refuse keys of a newer charnn, which would be lost when the file is rewritten. Raises ModelError."""
    corpus = content["corpus"]
    known: list[tuple[str, Mapping[str, Any], set[str]]] = [
        ("", content, _TOP_LEVEL),
        ("plan.", content["plan"], names_of(PlanFacts) | _RETIRED_OF_PLAN),
        ("results.", content["results"], names_of(Results)),
        ("parent.", content.get("parent") or {}, names_of(ParentFacts)),
        ("corpus.", corpus, names_of(CorpusFacts)),
        *((f"corpus.{split}.", corpus[split], names_of(SplitSize)) for split in ("train", "valid")),
        *(("corpus.files.", each, names_of(TextFile)) for each in corpus["files"]),
        *(("corpus.labels.", each, names_of(LabelFacts)) for each in corpus.get("labels", ())),
    ]
    for part in ("options", "options_given"):
        groups = content.get(part, {})
        known.append((f"{part}.", groups, set(_GROUPS)))
        known += [(f"{part}.{name}.", groups.get(name, {}), names_of(group)) for name, group in _GROUPS.items()]
    for where, values, names in known:
        for key in values:
            if key not in names:
                writer = content.get("charnn_version", _UNKNOWN_VERSION)
                if writer == __version__:
                    raise ModelError(
                        f"{file}: found {where}{key}, which charnn {__version__} does not write; restore the file"
                    )
                raise ModelError(
                    f"{file}: found {where}{key}, which format version {FORMAT_VERSION} does not have in charnn {__version__}; "
                    f"it was written by charnn {writer}: install a newer charnn"
                )


def _later_options(options: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(name for key, group in _GROUPS.items() for name in names_of(group) if name not in options[key])


def _corpus(values: Mapping[str, Any]) -> CorpusFacts:
    train, valid = (_part(SplitSize, values[split]) for split in ("train", "valid"))
    labels = [_part(LabelFacts, each) for each in values.get("labels", ())]
    return CorpusFacts([_part(TextFile, file) for file in values["files"]], train, valid, labels)


def _file_json(file: TextFile) -> JsonObject:
    return _without_unset(asdict(file), "of_bytes")


def _without_unset(values: JsonObject, *names: str) -> JsonObject:
    """Return an object without those of the keys whose value is None or 0, which older versions do not know."""
    return {key: value for key, value in values.items() if key not in names or value not in (None, 0)}


Part = TypeVar("Part")


def _part(kind: type[Part], values: Mapping[str, Any]) -> Part:
    """Make a dataclass from the values of a JSON object that are its fields, with defaults for missing fields.

    The compatibility of options is not checked: it was checked when the run was started, by the rules of that version.

    Raises:
        TypeError: if `values` is not an object, or a field without a default is missing.
        ValueError: if a value is invalid.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r} is not a JSON object")
    known = {name: values[name] for name in names_of(kind) if name in values}
    check_values(kind, known)
    if not issubclass(kind, Checked):
        return kind(**known)
    made = object.__new__(kind)
    for each in fields(kind):  # type: ignore[arg-type]
        object.__setattr__(made, each.name, known.get(each.name, each.default))
    return made
