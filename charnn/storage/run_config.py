"""The configuration of a run: all that `config.json` says, as dataclasses from the moment it is read until it is written.

Each fact is stored once. The file repeats some (the sizes of the network and the seed stand in `options` too) because tools
read them there: `RunConfig.to_json` writes them where the format has them, `RunConfig.from_json` takes each from one place
and brings a file of an older format up to date, so that nothing else knows that there were any.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from charnn import __version__
from charnn.config import Architecture, ModelOptions, TextOptions, TrainingOptions
from charnn.errors import ModelError
from charnn.options import Checked, OptionValues, as_json
from charnn.storage.checkpoint import FORMAT_VERSION
from charnn.storage.json_values import UNREADABLE, check_values, names_of, read_architecture, unreadable
from charnn.text.facts import SplitSize, TextFile

_GROUPS = {"text": TextOptions, "model": ModelOptions, "training": TrainingOptions}
_RETIRED_OF_PLAN = {"num_threads", "num_evaluations"}
"""Keys that older files have and nothing reads any more."""
_UNKNOWN_VERSION = "unknown"


@dataclass(frozen=True)
class Versions:
    """The versions with which a run was begun."""

    charnn: str = _UNKNOWN_VERSION
    torch: str = _UNKNOWN_VERSION
    python: str = _UNKNOWN_VERSION


@dataclass(frozen=True)
class AskedOptions:
    """The options as they were given, None where the choice was left open."""

    text: TextOptions
    model: ModelOptions
    training: TrainingOptions


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """What was decided before the first step, beside architecture and options.

    Args:
        device: cpu or cuda, where the option may say auto.
        precision: fp32 or bf16, where the option may say auto.
        bf16_speedup: how many times as fast as fp32, where bf16 was chosen over it.
        expected_epochs: passes over the text that the budget was expected to allow; None in runs of an older charnn.
        training_tokens_per_second: what was timed.
        evaluation_interval: progress between two evaluations, from 0 to 1.
        max_valid_tokens: held-out tokens that an evaluation reads.
        ngram_order: of the n-gram model to be counted, 0 for none. The one that was counted may have a lower order
            (`Results.ngram_order`).
        evaluation_seconds: what an evaluation was expected to take.
    """

    device: str
    precision: str
    bf16_speedup: float | None = None
    expected_epochs: float | None = None
    training_tokens_per_second: int | None = None
    evaluation_interval: float
    max_valid_tokens: int
    ngram_order: int = 0
    evaluation_seconds: float


@dataclass(frozen=True)
class CorpusFacts:
    """What is known of the text: its files, and the sizes of its two parts."""

    files: list[TextFile]
    train: SplitSize
    valid: SplitSize

    def size(self, split: str) -> SplitSize:
        """Return the size of "train" or "valid"."""
        return {"train": self.train, "valid": self.valid}[split]


@dataclass
class Results:
    """How good the model is; losses in nats a token, None before they are measured.

    Args:
        valid_loss_nats: the best validation loss, and `valid_num_tokens` how many tokens it was measured on.
        valid_loss_cold_nats: over windows that begin with the initial state.
        ngram_loss_nats: of the n-gram model, whose order is `ngram_order` (0: there is none).
        mixture_loss_nats: of network and n-gram model interpolated.
        temperature: by which the logits were divided, fitted to the held-out text.
        best_step: at which the best loss was reached.
        steps, seconds: that training took.
        stopped: why training ended, None while it goes on.
    """

    valid_loss_nats: float | None = None
    valid_loss_cold_nats: float | None = None
    ngram_loss_nats: float | None = None
    ngram_order: int = 0
    mixture_loss_nats: float | None = None
    temperature: float = 1.0
    valid_num_tokens: int = 0
    best_step: int = 0
    steps: int = 0
    seconds: float = 0.0
    stopped: str | None = None


@dataclass(kw_only=True)
class RunConfig:
    """All that `config.json` says.

    Args:
        architecture: the network's resolved shape.
        asked: the options as they were given.
        training: the training options, resolved. The resolved options of the text are those that were asked for, those of the
            model follow from the architecture.
        plan: what else was decided before the first step.
        tokenizer_sha256: of the vocabulary that the weights belong to.
        corpus: what is known of the text.
        versions: with which the run was begun.
        mixture_weights: the network's weights beside the n-gram model, by the order of the n-gram (order,).
        results: how good the model is.
        recipe: the name of the one that options come from.
        later_options: the options that did not exist yet when the run was begun; not written.
    """

    architecture: Architecture
    asked: AskedOptions
    training: TrainingOptions
    plan: PlanFacts
    tokenizer_sha256: str
    corpus: CorpusFacts
    versions: Versions
    mixture_weights: list[float] | None = None
    results: Results = field(default_factory=Results)
    recipe: str | None = None
    later_options: frozenset[str] = frozenset()

    @property
    def seed(self) -> int:
        """What everything that is drawn at random depends on."""
        return self.training.seed

    def option_values(self) -> dict[str, OptionValues]:
        """Return the resolved options by group and name, as `config.json` has them."""
        shape, model = asdict(self.architecture), as_json(self.asked.model)
        return {
            "text": as_json(self.asked.text),
            "model": model | {name: shape[name] for name in model if name in shape},
            "training": as_json(self.training),
        }

    def to_json(self) -> dict[str, Any]:
        """Return what `config.json` says, but for the format version and the generation."""
        return {
            **{f"{name}_version": version for name, version in asdict(self.versions).items()},
            "seed": self.seed,
            "architecture": asdict(self.architecture),
            "options": self.option_values(),
            "options_given": {name: as_json(getattr(self.asked, name)) for name in _GROUPS},
            "plan": asdict(self.plan),
            "tokenizer_sha256": self.tokenizer_sha256,
            "corpus": {
                "files": [_file_json(file) for file in self.corpus.files],
                "train": asdict(self.corpus.train),
                "valid": asdict(self.corpus.valid),
            },
            "mixture_weights": self.mixture_weights,
            "results": asdict(self.results),
            "recipe": self.recipe,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], file: str) -> "RunConfig":
        """Make a configuration from what `config.json` says, in its present format or an older one.

        Args:
            content: with its format version, which is not newer than this charnn's.
            file: its path, for messages.

        Raises:
            ModelError: where something is missing or no value that it can have, or where a file of the present format holds
                what this charnn does not know, which a newer one has written.
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
                later_options=later_options,
            )
        except UNREADABLE as error:
            raise unreadable(file, error) from error


_PLAIN = ("tokenizer_sha256", "mixture_weights", "recipe")
_VERSION_KEYS = [f"{each.name}_version" for each in fields(Versions)]
_TOP_LEVEL = {
    *_VERSION_KEYS,
    *("format_version", "generation", "seed", "options", "options_given"),
    *(each.name for each in fields(RunConfig) if each.name not in ("asked", "training", "versions", "later_options")),
}


def _migrated(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of an older format says in the present one.

    What is merely missing has its default, which means the old behaviour: an architecture without `embedding_order` embeds
    no n-grams, results without a temperature are those of temperature 1.
    """
    options, plan = content["options"], dict(content["plan"])
    if "evaluation_interval" not in plan and "num_evaluations" in plan:  # the first charnn planned their number
        plan["evaluation_interval"] = 1 / plan["num_evaluations"]
    # An option that was left open is resolved now; before it existed, no n-grams were left out in training.
    training = {"ngram_dropout": 0.0, **options["training"]}
    given = {**options, **content.get("options_given", {})}  # what was left open was not noted at first
    return {**content, "options": {**options, "training": training}, "options_given": given, "plan": plan}


def _refuse_unknown(content: Mapping[str, Any], file: str) -> None:
    """Refuse what only a newer charnn can have written, lest it be lost when the file is written again. Raises ModelError."""
    corpus = content["corpus"]
    known: list[tuple[str, Mapping[str, Any], set[str]]] = [
        ("", content, _TOP_LEVEL),
        ("plan.", content["plan"], names_of(PlanFacts) | _RETIRED_OF_PLAN),
        ("results.", content["results"], names_of(Results)),
        ("corpus.", corpus, names_of(CorpusFacts)),
        *((f"corpus.{split}.", corpus[split], names_of(SplitSize)) for split in ("train", "valid")),
        *(("corpus.files.", each, names_of(TextFile)) for each in corpus["files"]),
    ]
    for part in ("options", "options_given"):
        groups = content.get(part, {})
        known.append((f"{part}.", groups, set(_GROUPS)))
        known += [(f"{part}.{name}.", groups.get(name, {}), names_of(group)) for name, group in _GROUPS.items()]
    for where, values, names in known:
        for key in values:
            if key not in names:
                raise ModelError(
                    f"{file}: found {where}{key}, which format version {FORMAT_VERSION} does not have in charnn {__version__}; "
                    f"it was written by charnn {content.get('charnn_version', _UNKNOWN_VERSION)}: install a newer charnn"
                )


def _later_options(options: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(name for key, group in _GROUPS.items() for name in names_of(group) if name not in options[key])


def _corpus(values: Mapping[str, Any]) -> CorpusFacts:
    train, valid = (_part(SplitSize, values[split]) for split in ("train", "valid"))
    return CorpusFacts([_part(TextFile, file) for file in values["files"]], train, valid)


def _file_json(file: TextFile) -> dict[str, Any]:
    values = asdict(file)
    if file.of_bytes is None:
        del values["of_bytes"]
    return values


Part = TypeVar("Part")


def _part(kind: type[Part], values: Mapping[str, Any]) -> Part:
    """Make a dataclass from those values of a JSON object that are its fields, with defaults for the others.

    Options are not checked against each other: they were when the run was begun, by the rules of that day.

    Raises:
        TypeError: where it is no object, or one without a default is missing.
        ValueError: where a field cannot have its value.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r} is no JSON object")
    known = {name: values[name] for name in names_of(kind) if name in values}
    check_values(kind, known)
    if not issubclass(kind, Checked):
        return kind(**known)
    made = object.__new__(kind)
    for each in fields(kind):  # type: ignore[arg-type]
        object.__setattr__(made, each.name, known.get(each.name, each.default))
    return made
