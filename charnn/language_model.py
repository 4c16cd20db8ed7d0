"""A trained model: text generation, scoring and prediction, with access to its distributions and hidden states."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Unpack, overload

import numpy as np
import numpy.typing as npt

from charnn import notebook
from charnn.config import ClassifyOptions, FillOptions, OnUnknown, PredictOptions, SampleOptions
from charnn.config.arguments import SampleArguments, ScoreArguments
from charnn.config.forecast import FORECAST_SAMPLES, FORECAST_STEPS
from charnn.config.model import Direction
from charnn.errors import OptionError, speaking_of_arguments
from charnn.inference.distributions import log_distributions
from charnn.inference.engine import Engine
from charnn.inference.prediction import NextToken, next_distribution
from charnn.inference.prompt import outputs_of_layers
from charnn.options import checked_text, checked_texts, pick, refuse_both, with_tuples
from charnn.sampling.build import SampledText
from charnn.sampling.completion import NextWord, WordCompleter
from charnn.sampling.forecast import LEVELS, Forecast, check_steps, forecast_values
from charnn.sampling.texts import sampled_texts, text_pieces
from charnn.scoring import infilling
from charnn.scoring.build import build_scorer, checked_score_options, checked_unit
from charnn.scoring.classification import Prior, classify
from charnn.scoring.preflight import units_to_score, with_default_unit
from charnn.scoring.scores import Score
from charnn.scoring.words import ScoredWord, scored_words
from charnn.storage.labels import labels_of, with_label
from charnn.storage.mixture import read_mixture
from charnn.storage.model_card import model_card
from charnn.storage.model_directory import Model
from charnn.storage.model_group import ModelGroup
from charnn.text.reading import begun
from charnn.text.tokenizers import Token

Floats = npt.NDArray[np.float64]

GAP = "____"


class LanguageModel:
    """A trained model; `charnn.load` and `charnn.train` return one.

    Args:
        models: one model; the forward and backward halves of a bidirectional model; or several models to interpolate.
        weights: interpolation weights, if several models are interpolated.

    Example:
        >>> model = charnn.load("runs/book")
        >>> model.score("The fox slept.").bits_per_char
    """

    def __init__(self, models: Sequence[Model], weights: Sequence[float] = ()) -> None:
        self.group = ModelGroup(tuple(models), tuple(weights))
        self.models, self.weights = self.group.models, self.group.weights
        self.tokenizer = models[0].tokenizer
        self._completers: dict[tuple[bool, str | None], WordCompleter] = {}

    @property
    def path(self) -> Path:
        """The directory of the model, or of the first of several."""
        return self.models[0].path

    @property
    def is_interpolated(self) -> bool:
        """Whether the model interpolates the probabilities of several models."""
        return self.group.is_interpolated

    @property
    def is_bidirectional(self) -> bool:
        """Whether the model has a forward and a backward network."""
        return self.group.is_bidirectional

    @property
    def num_parameters(self) -> int:
        """The number of parameters, summed over all networks."""
        return self.group.num_parameters

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens in id order."""
        return self.tokenizer.vocabulary.tokens

    @cached_property
    def _engines(self) -> dict[str, Engine]:
        return {model.architecture.direction: Engine.of(model) for model in self.models}

    @overload
    def sample(
        self, prompt: str = "", *, num_samples: None = None, **options: Unpack[SampleArguments]
    ) -> SampledText: ...

    @overload
    def sample(
        self, prompt: str = "", *, num_samples: int, **options: Unpack[SampleArguments]
    ) -> list[SampledText]: ...

    @speaking_of_arguments
    def sample(
        self, prompt: str = "", *, num_samples: int | None = None, **options: Unpack[SampleArguments]
    ) -> SampledText | list[SampledText]:
        """Generate text that continues a prompt.

        Args:
            num_samples: number of samples, returned as a list; a beam search may find fewer. If None, return one sample.
            options: options of `charnn sample`, named as in `charnn.config.SampleOptions`.

        Raises:
            CharnnError: for incompatible options, or for unknown tokens in the prompt.

        Example:
            >>> model.sample("The fox", length=200, temperature=0.8, seed=7).text
        """
        values = with_tuples(options, SampleArguments.__annotations__)
        chosen = pick(SampleOptions, {**values, "num_samples": 1 if num_samples is None else num_samples})
        texts = sampled_texts(self.group.single("sampling"), prompt, chosen)
        return texts[0] if num_samples is None else texts

    @speaking_of_arguments
    def stream(self, prompt: str = "", **options: Unpack[SampleArguments]) -> Iterator[str]:
        """Yield a text piece by piece, as it is generated; see `sample`.

        Example:
            >>> for piece in model.stream("The fox", length=200): print(piece, end="")
        """
        chosen = pick(SampleOptions, with_tuples(options, SampleArguments.__annotations__))
        if chosen.beam is not None:
            raise OptionError("beam: found with stream, but a beam search returns text only at its end; use sample")
        return text_pieces(self.group.single("sampling"), prompt, chosen)

    @speaking_of_arguments
    def forecast(
        self,
        values: Iterable[float] | None = None,
        *,
        steps: int = FORECAST_STEPS,
        num_samples: int = FORECAST_SAMPLES,
        quantiles: Sequence[float] = LEVELS,
        **options: Unpack[SampleArguments],
    ) -> Forecast:
        """Return quantiles of the next values of a series, from many samples.

        Args:
            values: the last ones, NaN where one is missing; None for the end of the series that the model was trained on.
            steps: to forecast, at least 1.
            options: see `sample`.

        Raises:
            OptionError: for fewer than 1 step.

        Example:
            >>> charnn.load("runs/series").forecast([12.1, 12.9], steps=7, num_samples=20, seed=1).quantiles.shape
            (7, 5)
        """
        check_steps(steps, "steps")
        chosen = {"length": steps, "num_samples": num_samples, "forecast": True}
        given = pick(SampleOptions, {**with_tuples(options, SampleArguments.__annotations__), **chosen})
        return forecast_values(self.group.single("a forecast"), values, given, quantiles)

    @overload
    def score(self, text: str, **options: Unpack[ScoreArguments]) -> Score: ...

    @overload
    def score(self, text: list[str] | tuple[str, ...], **options: Unpack[ScoreArguments]) -> list[Score]: ...

    @overload
    def score(self, text: Path | Iterator[str], **options: Unpack[ScoreArguments]) -> Iterator[Score]: ...

    @speaking_of_arguments
    def score(
        self, text: str | Path | Iterable[str], **options: Unpack[ScoreArguments]
    ) -> Score | list[Score] | Iterator[Score]:
        """Return the probability of a text and of each of its tokens.

        Args:
            text: a text, for one score; a list of texts, for a list of scores; or an iterator of texts or the path of a file,
                whose lines (or tunes, of an .abc file by a model of tunes) are scored, for an iterator of scores that uses
                constant memory.
            options: options of `charnn score`, named as in `charnn.config.ScoreOptions`.

        Raises:
            CharnnError: for incompatible options, or a file that cannot be read.

        Example:
            >>> score = model.score("The fox slept.")
            >>> score.log_prob_nats, score.perplexity, score.bits_per_char, score.tokens
        """
        chosen = checked_score_options(options)
        if isinstance(text, Path) and "unit" not in options:
            chosen = with_default_unit(chosen, self.models, [str(text)])
        if chosen.unit == "file" and not isinstance(text, Path):
            raise OptionError("--unit file: found a text that is no file; pass a pathlib.Path, or --unit stream")
        if not isinstance(text, (Iterable, Path)):
            text = [checked_text(text, "text")]
        if isinstance(text, (list, tuple)):
            text = list(map(checked_unit, text))
        if isinstance(text, Path):
            text = begun(units_to_score(self.models, [str(text)], chosen, tokenizer=self.tokenizer)) or iter(())
        scorer = build_scorer(*self.group.for_scoring(chosen))
        scores = scorer.scores([text] if isinstance(text, str) else text, chosen, with_tokens=True)
        if isinstance(text, str):
            (score,) = scores
            return score
        return list(scores) if isinstance(text, list) else scores

    @speaking_of_arguments
    def score_words(self, text: str, **options: Unpack[ScoreArguments]) -> list[ScoredWord]:
        """Return the words of a text with their surprisals and their positions in characters.

        Args:
            options: see `score`; `spaces` determines whether a space is added to the next or the previous word.

        Example:
            >>> [(word.word, word.start, word.surprisal_bits) for word in model.score_words("The fox slept.")]
        """
        chosen = checked_score_options(options, by_word=True)
        scorer = build_scorer(*self.group.for_scoring(chosen))
        (score,) = scorer.scores([text], chosen, with_tokens=True)
        return scored_words(score, spaces=chosen.spaces, is_closed=chosen.closes)

    @speaking_of_arguments
    def next_tokens(
        self,
        context: str = "",
        *,
        top: int | None = 10,
        direction: Direction | None = None,
        mix_ngram: bool = False,
        on_unknown: OnUnknown = "error",
        label: str | None = None,
    ) -> list[NextToken]:
        """Return the most probable next tokens in descending order; for a backward model, the most probable preceding tokens.

        Args:
            top: number of tokens; None for all.
            direction: network of a bidirectional model to predict with; by default, the forward one.
            mix_ngram: interpolate with the n-gram model.
            on_unknown: how to handle unknown tokens: "error", "skip" or "unk".
            label: of the text, for a model with labels.

        Example:
            >>> [(next.token, next.prob) for next in model.next_tokens("The fo", top=3)]
        """
        values = {"mix_ngram": mix_ngram, "direction": direction, "on_unknown": on_unknown, "label": label}
        PredictOptions(top=0 if top is None else top, **values)  # type: ignore[arg-type]  # checks them
        self.group.single("prediction")
        if direction == "both":
            raise OptionError("--direction both: a prediction requires one network; choose forward or backward")
        model, text = with_label(self.group.of_direction(direction)[0], label), checked_text(context, "context")
        return next_distribution(model, text, top=top, mix_ngram=mix_ngram, on_unknown=on_unknown).tokens

    @speaking_of_arguments
    def complete(
        self,
        text: str,
        *,
        top: int | None = 10,
        mix_ngram: bool = False,
        on_unknown: OnUnknown = "error",
        label: str | None = None,
    ) -> list[NextWord]:
        """Return the most probable whole words that complete the last word of a text, or follow a space at its end.

        Each probability includes that the word ends there; with a word model, it is normalized over the words that begin so.

        Args:
            top, mix_ngram, on_unknown, label: see `next_tokens`; only a word model can return all words.

        Example:
            >>> [(next.word, next.completion, next.prob) for next in model.complete("The fo", top=3)]
        """
        PredictOptions(top=0 if top is None else top, mix_ngram=mix_ngram, on_unknown=on_unknown, complete=True)
        self.group.single("completion")
        if (mix_ngram, label) not in self._completers:
            model = with_label(self.models[0], label)
            mixture = read_mixture(model) if mix_ngram else None
            self._completers[mix_ngram, label] = WordCompleter(model, mixture=mixture)
        completer = self._completers[mix_ngram, label]
        return completer.complete(checked_text(text, "text"), top=top, on_unknown=on_unknown).words

    @speaking_of_arguments
    def fill(
        self,
        text: str,
        candidates: Sequence[str] | None = None,
        *,
        gap: str = GAP,
        top: int | None = 10,
        beam: int = 100,
        max_tokens: int | None = None,
        direction: Direction | None = None,
        mix_ngram: bool = False,
        on_unknown: OnUnknown = "error",
    ) -> list[infilling.Filling]:
        """Return candidates for the gap in a text, ranked by the probability of the whole text.

        Args:
            candidates: candidates to rank; if None, a beam search proposes them.
            gap: placeholder for the gap, which occurs once in the text.
            top: number of candidates to return; None for all.
            beam: beam width of the search.
            max_tokens: maximum length, in tokens, of candidates from the search; the default depends on the tokenizer.
            direction: network of a bidirectional model to rank with; by default, both.
            mix_ngram: interpolate with the n-gram model; only with a single network.
            on_unknown: how to handle unknown tokens: "error" or "unk".

        Example:
            >>> model.fill("The ____ slept.", ["fox", "heron"])[0].text
        """
        values = {"mix_ngram": mix_ngram, "direction": direction, "on_unknown": on_unknown, "blank": gap}
        FillOptions(top=0 if top is None else top, beam=beam, max_tokens=max_tokens, **values)  # type: ignore[arg-type]
        self.group.single("infilling")
        models = self.models if direction is None else self.group.of_direction(direction)
        refuse_both("--mix-ngram", mix_ngram and len(models) > 1, "two networks; choose one with --direction")
        ranked = infilling.fill(
            {model.architecture.direction: self._engines[model.architecture.direction] for model in models},
            self.tokenizer,
            checked_text(text, "text"),
            None if candidates is None else checked_texts(candidates, "candidates"),
            gap=gap,
            beam=beam,
            max_tokens=max_tokens,
            on_unknown=on_unknown,
            mixture=read_mixture(models[0]) if mix_ngram else None,
        )
        return ranked[:top]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels with which the model was trained, the most frequent one first; none for other models."""
        return tuple(each.name for each in labels_of(self.models[0]))

    @speaking_of_arguments
    def classify(self, text: str, *, prior: Prior = "counts") -> dict[str, float]:
        """Return P(label | text) by Bayes' rule, the most probable label first, for a model with labels (`label_from`).

        Args:
            prior: P(label): "counts", as frequent as in training, or "uniform".

        Example:
            >>> charnn.load("runs/voices").classify("Speak, speak.")
        """
        ClassifyOptions(prior=prior)  # checks it
        return classify(self.group.single("classification"), [checked_text(text, "text")], prior=prior)[0].probs

    def tokenize(self, text: str) -> list[Token]:
        """Return the tokens of a text with their ids and their positions in characters.

        Example:
            >>> [(token.text, token.id, token.start) for token in model.tokenize("The fox")]
        """
        return list(self.tokenizer.tokenize(checked_text(text, "text")))

    def log_probs(self, text: str) -> Floats:
        """Return the log probabilities, in nats, over the vocabulary at each token of a text (T, V).

        Example:
            >>> model.log_probs("The fox").argmax(axis=1)
        """
        engine, ids = self._engine_and_ids(text)
        return log_distributions(engine, self.tokenizer.vocabulary.boundary_id, ids, len(self.vocabulary))

    def hidden_states(self, text: str) -> list[Floats]:
        """Return the outputs of each recurrent layer, without attention, after each token of a text (T, H), the lowest first.

        Example:
            >>> model.hidden_states("The fox")[0].shape
        """
        engine, ids = self._engine_and_ids(text)
        return outputs_of_layers(engine, self.tokenizer.vocabulary.boundary_id, ids)

    def _engine_and_ids(self, text: str) -> tuple[Engine, npt.NDArray[np.int64]]:
        model = self.group.single("access to distributions and hidden states")
        engine, ids = self._engines[model.architecture.direction], self.tokenizer.encode(checked_text(text, "text"))
        return engine, ids[::-1] if engine.is_backward else ids

    def __repr__(self) -> str:
        shape = self.models[0].architecture
        return (
            f"LanguageModel({str(self.path)!r}: {shape.num_layers} x {shape.hidden_size} {shape.cell}, "
            f"{self.num_parameters:,} parameters, {len(self.vocabulary):,} tokens ({self.tokenizer.kind}))"
        )

    def _repr_html_(self) -> str:
        """Return the model card, as HTML for a notebook."""
        return notebook.card(repr(self), model_card(self.models))
