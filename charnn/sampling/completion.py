"""Completion of the word that is being written, and prediction of the next one: whole words with their probabilities.

P(word | text) is the probability of the rest of the word and of any token that ends it. The search expands the most probable
beginning of a word first, several in one step of the network, until none is as probable as the last of the words wanted;
then it looks for other ways to write these words, as far as they matter.
"""

import heapq
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from charnn.config import OnUnknown
from charnn.errors import ModelError, OptionError, TextError
from charnn.inference.engine import Engine, EngineState, Floats
from charnn.inference.prompt import PromptState, encode_prompt, prefill
from charnn.inference.stepper import stepper_for
from charnn.ngrams.mixture import Mixture
from charnn.sampling.selection import mixed_log_softmax
from charnn.storage.model_directory import Model
from charnn.text.bins import is_of_numbers
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import NEWLINE
from charnn.text.word_ends import LONGEST_WORD, Unfinished, WordTables, is_word, unfinished_word

logger = logging.getLogger(__name__)
AT_ONCE = 16
"""Beginnings that are expanded in one step of the network."""
LEAST_PROB = 1e-6
"""Less probable words are not searched for."""
TOLERANCE = 1e-6
"""Ways to write a word that have less than this fraction of its probability are left out of it."""
MOST_EXPANDED = 20_000
WORD_KINDS = ("word", "pretokenized")


@dataclass(frozen=True)
class NextWord:
    """A word that may be the current one, or follow.

    Args:
        word: the whole word.
        completion: what it adds to the text.
        prob: its probability given the text, which includes that it ends there.

    Example:
        >>> model.complete("The fo", top=1)[0].completion
    """

    word: str
    completion: str
    prob: float

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class NextWords:
    """The most probable words.

    Args:
        typed: what the text has of the word.
        words: in descending order.
        others_prob: the probability of everything else.
    """

    typed: str
    words: list[NextWord]
    others_prob: float


class WordCompleter:
    """Completes words with a model; it keeps the state after the last text, so that a text that grows is not read again.

    Args:
        mixture: the n-gram model to interpolate with.

    Raises:
        ModelError: for a model that reads from right to left, or numbers.

    Example:
        >>> charnn.api.WordCompleter(model.models[0]).complete("The fo", top=3).others_prob
    """

    def __init__(self, model: Model, *, mixture: Mixture | None = None) -> None:
        if model.architecture.direction == "backward":
            raise ModelError(
                f"{model.path}: reads from right to left, but words are completed by a forward model; name one of these"
            )
        if is_of_numbers(model.tokenizer):
            raise ModelError(
                f"{model.path}: is a model of numbers, which have no words to complete; leave --complete out"
            )
        engine = Engine.of(model)
        self._stepper = stepper_for(engine, engine.initial_state())
        self._tokenizer: Tokenizer = model.tokenizer
        self._mixture = mixture
        self._tables = None if self._tokenizer.kind in WORD_KINDS else WordTables(self._tokenizer)
        self._known: PromptState | None = None

    def complete(self, text: str, *, top: int | None, on_unknown: OnUnknown = "error") -> NextWords:
        """Return the most probable words that complete the last word of a text, or follow a space at its end.

        Args:
            top: how many; None for all words of the vocabulary of a word model.
            on_unknown: what to do about unknown tokens (see `encode_prompt`).

        Raises:
            OptionError: if all words of another model are wanted.
            TextError: if no token continues the text.
            UnknownTokenError: for unknown tokens of the text.
        """
        typed = unfinished_word(text, self._tokenizer.kind)
        if self._tables is None:
            return self._of_vocabulary(text, typed, top, on_unknown)
        if top is None:
            raise OptionError(
                f"--top: found 0 (all), but a {self._tokenizer.kind} model can write any word; pass a number from 1"
            )
        encode_prompt(self._tokenizer, text, on_unknown=on_unknown)
        before, required = text, ""
        if self._tokenizer.kind == "subword":  # the tokens of the last word are another's, once it is whole
            before = text.removesuffix(typed).removesuffix(" ")
            required = text[len(before) :]
        word, unfinished = Unfinished.of(typed, self._tokenizer.kind, required)
        prompt = self._read(encode_prompt(self._tokenizer, before, on_unknown=on_unknown))
        search = _Search(self, prompt, typed, _Beginning(1.0, word, unfinished, None, 0, ()), top)
        search.run()
        return _ranked(typed, {word: search.words[word] for word in search.best}, search.total(text), top)

    def _read(self, ids: npt.NDArray[np.int64]) -> PromptState:
        self._known = state = prefill(self._stepper, self._tokenizer, ids, known=self._known)
        return state

    def _of_vocabulary(self, text: str, typed: str, top: int | None, on_unknown: OnUnknown) -> NextWords:
        """Return words of the vocabulary; their probabilities are normalized over those that begin with what is typed."""
        vocabulary = self._tokenizer.vocabulary
        before = text.removesuffix(typed)
        ids = encode_prompt(self._tokenizer, before, on_unknown=on_unknown)
        if typed or before.endswith(" "):  # with the space that a word has before it, which is no token
            ids = self._tokenizer.encode(f"{before}x")[:-1]
            ids = ids[ids != vocabulary.unknown_id] if on_unknown == "skip" else ids
        prompt = self._read(ids)
        (log_probs_V,) = self.log_probs(prompt.logits, [prompt.ids])
        special = {vocabulary.boundary_id, vocabulary.unknown_id, vocabulary.ids.get(NEWLINE)}
        is_wanted = is_word if self._tokenizer.kind == "word" else str.strip
        words = {
            token: float(np.exp(log_probs_V[id]))
            for id, token in enumerate(vocabulary.tokens)
            if id not in special and token.startswith(typed) and is_wanted(token)
        }
        total = sum(words.values())
        if not total:
            raise TextError(
                f"TEXT: found {typed!r} at its end, but none of the model's {len(vocabulary):,} words begins so; "
                "change it, or use a model of characters or subwords"
            )
        return _ranked(typed, words, total, top)

    def log_probs(self, logits_BV: Floats, contexts: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        """Return log probabilities (B, V), interpolated with the n-gram model if there is one."""
        return mixed_log_softmax(logits_BV, contexts, self._mixture)

    def continued(self, beginnings: "Sequence[_Beginning]") -> tuple[Floats, EngineState]:
        """Read the last token of each beginning; return the logits (B, V) of what follows, and the state."""
        parents = [(one.state, one.row) for one in beginnings]
        first = parents[0][0]
        assert first is not None
        gathered = tuple(
            tuple(
                np.stack([state[layer][part][row] for state, row in parents if state is not None])
                for part in range(len(first[layer]))
            )
            for layer in range(len(first))
        )
        stepper = self._stepper.fork(gathered, len(parents))
        logits_BV = stepper.step(np.array([one.ids[-1] for one in beginnings]))
        return logits_BV, stepper.state()

    @property
    def tables(self) -> WordTables:
        """What tokens do to words; not for a word model."""
        assert self._tables is not None
        return self._tables


def _ranked(typed: str, words: dict[str, float], total: float, top: int | None) -> NextWords:
    ranked = heapq.nlargest(len(words) if top is None else top, words, key=words.__getitem__)
    probs = [words[word] / total for word in ranked]
    listed = [NextWord(word, word[len(typed) :], prob) for word, prob in zip(ranked, probs, strict=True)]
    return NextWords(typed, listed, max(0.0, 1 - sum(probs)))


@dataclass(frozen=True)
class _Beginning:
    """The beginning of a word.

    Args:
        prob: its probability.
        word, unfinished: its letters, and what is unfinished.
        state, row: the model's state before its last token.
        ids: its tokens.
    """

    prob: float
    word: str
    unfinished: Unfinished
    state: EngineState | None
    row: int
    ids: tuple[int, ...]


@dataclass
class _Expanded:
    """A beginning that was continued by each token.

    Args:
        probs: of its continuations, in descending order (N,).
        order: the index of each in the table of continuations.
        num_taken: how many of them, from the most probable one, the search for words has taken.
    """

    beginning: _Beginning
    state: EngineState
    row: int
    probs: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64]
    num_taken: int = 0


class _Search:
    """A search for the most probable words."""

    def __init__(self, completer: WordCompleter, prompt: PromptState, typed: str, first: _Beginning, top: int) -> None:
        self._completer, self._prompt, self._typed, self._top = completer, prompt, typed, top
        self.words: dict[str, float] = {}
        self._total = 0.0 if first.unfinished.required else 1.0
        self._expanded: list[_Expanded] = []
        self._open: list[tuple[float, int, _Expanded]] = []
        """Those that have continuations to expand, by the probability of the best one of these."""
        self._numbers = count()
        self.best: list[str] = []
        self._num_complete = 0
        """Expanded beginnings of which no continuation is left that matters."""
        self._expand([first], prompt.logits, prompt.state)

    def run(self) -> None:
        """Find the words, and then their probabilities."""
        while best := self._best():
            self._continue(best)
            if self._is_too_long():
                break
        self.best = heapq.nlargest(self._top, self.words, key=self.words.__getitem__)
        while rest := self._other_ways():
            for number in range(0, len(rest), AT_ONCE):
                self._continue(rest[number : number + AT_ONCE])
            if self._is_too_long():
                return

    def total(self, text: str) -> float:
        """Return the probability of the typed text, given what is before it. Raises TextError if it has none."""
        if not self._total:
            raise TextError(
                f"TEXT: found {self._typed!r} at the end of {text[-20:]!r}, which the model's tokens cannot spell; change it"
            )
        return self._total

    def _is_too_long(self) -> bool:
        if len(self._expanded) < MOST_EXPANDED:
            return False
        logger.warning(
            "complete: stopped after %s beginnings of words; probable words may be missing", f"{MOST_EXPANDED:,}"
        )
        return True

    def _best(self) -> list[_Beginning]:
        """Return the most probable beginnings that may still lead to one of the words wanted."""
        bound = LEAST_PROB * self._total
        if len(self.words) >= self._top:
            bound = max(bound, heapq.nlargest(self._top, self.words.values())[-1])
        found: list[_Beginning] = []
        while self._open and len(found) < AT_ONCE and -self._open[0][0] > bound:
            _, number, parent = self._open[0]
            found.append(self._child(parent, parent.num_taken))
            parent.num_taken += 1
            if parent.num_taken < len(parent.probs):
                heapq.heapreplace(self._open, (-float(parent.probs[parent.num_taken]), number, parent))
            else:
                heapq.heappop(self._open)
        return found

    def _other_ways(self) -> list[_Beginning]:
        """Return beginnings that may still add to the probability of the best words."""
        parents = self._expanded[self._num_complete :]
        self._num_complete += len(parents)
        return [self._child(parent, position) for parent in parents for position in self._that_matter(parent)]

    def _that_matter(self, parent: _Expanded) -> Iterator[int]:
        """Yield the positions of continuations that may still lead to one of the best words."""
        beginning = parent.beginning
        words = [word for word in self.best if word.startswith(beginning.word)]
        if not words:
            return
        continuations = self._completer.tables.of(beginning.unfinished).continuations
        least = TOLERANCE * min(self.words[word] for word in words)
        for position in range(parent.num_taken, int(np.searchsorted(-parent.probs, -least))):
            beginning_of_word = beginning.word + continuations[int(parent.order[position])][0]
            if any(word.startswith(beginning_of_word) for word in words):
                yield position

    def _child(self, parent: _Expanded, position: int) -> _Beginning:
        number = int(parent.order[position])
        table = self._completer.tables.of(parent.beginning.unfinished)
        added, unfinished = table.continuations[number]
        ids = (*parent.beginning.ids, int(table.ids[number]))
        return _Beginning(
            float(parent.probs[position]), parent.beginning.word + added, unfinished, parent.state, parent.row, ids
        )

    def _continue(self, beginnings: list[_Beginning]) -> None:
        self._expand(beginnings, *self._completer.continued(beginnings))

    def _expand(self, beginnings: Sequence[_Beginning], logits_BV: Floats, state: EngineState) -> None:
        """Add what each token makes of beginnings after which the model has certain logits and states."""
        contexts = [(*self._prompt.ids[-LONGEST_WORD:], *one.ids) for one in beginnings]
        probs_BV = np.exp(self._completer.log_probs(logits_BV, contexts))
        for row, (beginning, probs_V) in enumerate(zip(beginnings, probs_BV, strict=True)):
            self._add(beginning, beginning.prob * probs_V, state, row)

    def _add(self, beginning: _Beginning, probs_V: npt.NDArray[np.float64], state: EngineState, row: int) -> None:
        table = self._completer.tables.of(beginning.unfinished)
        if table.is_typed_V is not None:
            self._total += float(probs_V[table.is_typed_V].sum())
        ended = np.bincount(table.ends_V, probs_V, minlength=len(table.fragments) + 1)
        for word, prob in self._ended(beginning.word, table.fragments, ended.tolist()):
            self.words[word] = self.words.get(word, 0.0) + prob
        probs = probs_V[table.ids] if len(beginning.word) < LONGEST_WORD else np.zeros(0)
        order = np.argsort(-probs, kind="stable")
        expanded = _Expanded(beginning, state, row, probs[order], order)
        self._expanded.append(expanded)
        if len(order):
            heapq.heappush(self._open, (-float(expanded.probs[0]), next(self._numbers), expanded))

    def _ended(self, word: str, fragments: Sequence[str], probs: Sequence[float]) -> Iterator[tuple[str, float]]:
        for fragment, prob in zip(fragments, probs, strict=False):
            if prob and (word + fragment).startswith(self._typed):
                yield word + fragment, prob
