"""What may fill a gap in a sentence: candidates found by search, and ranked by the probability of the whole sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from charnn.config import OnUnknown, ScoreOptions
from charnn.errors import TextError
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import SPACES, encode_prompt, prefill
from charnn.inference.stepper import stepper_for
from charnn.ngrams.mixture import Mixture
from charnn.sampling.beam import best_continuations
from charnn.scoring.cloze import Gap, find_gap, score_cloze
from charnn.scoring.scorer import estimator_of, score_units
from charnn.scoring.scores import Score, averaged
from charnn.text.tokenizers import Tokenizer, decode

MOST_TOKENS = {"char": 12, "byte": 12, "word": 2, "pretokenized": 2, "subword": 4, "bins": 1}
"""Tokens that a search fills a gap with, at most."""
REMEDY = ", or pass --on-unknown unk"


@dataclass(frozen=True)
class Filling:
    """A candidate in the gap.

    Args:
        text: what fills the gap.
        scores: the whole sentence under each model, by its direction.
        log_prob_nats: of the sentence; of two models, the mean of theirs.
        share: its probability divided by the sum over all candidates.

    Example:
        >>> model.fill("The ____ slept.", ["fox", "owl"])[0].to_dict()
    """

    text: str
    scores: dict[str, Score]
    log_prob_nats: float
    share: float

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, the scores as log probabilities by direction."""
        by_direction = {direction: score.log_prob_nats for direction, score in self.scores.items()}
        return {"text": self.text, "log_prob_nats": self.log_prob_nats, "share": self.share, **by_direction}


def fill(
    engines: dict[str, Engine],
    tokenizer: Tokenizer,
    text: str,
    candidates: Sequence[str] | None,
    *,
    gap: str,
    beam: int,
    max_tokens: int | None = None,
    on_unknown: OnUnknown = "error",
    mixture: Mixture | None = None,
) -> list[Filling]:
    """Rank what may fill the gap in a text by the probability of the whole text, the most probable first.

    Args:
        engines: by direction, forward, backward or both.
        candidates: to rank; None to search for them.
        gap: the text that marks it, once in the text.
        beam, max_tokens: see `propose`; tokens at most by the kind of token where it is None.
        on_unknown: what to do about tokens that the vocabulary lacks (see `encode_prompt`).
        mixture: the n-gram model to interpolate a forward network with.

    Raises:
        TextError: where there is no gap, or nothing to fill it with.

    Example:
        >>> engines = charnn.api.engines_of(model.models)
        >>> charnn.api.fill(engines, model.tokenizer, "The ____ slept.", ["fox", "owl"], gap="____", beam=1)[0].text
    """
    if not gap or gap not in text:
        raise TextError(f"TEXT: found no gap ({gap or '--blank'}) in it; put one in, as in 'The cats ____ full.'")
    sides = find_gap(tokenizer, text, gap, on_unknown=on_unknown, remedy=REMEDY)
    before, after = text.split(gap)
    if candidates is None:
        most = max_tokens or MOST_TOKENS[tokenizer.kind]
        found = propose(engines, tokenizer, sides, beam=beam, max_tokens=most)
        if not found:
            raise TextError("TEXT: a search found nothing but spaces for the gap; raise --beam or --max-tokens")
    else:
        found = list(dict.fromkeys(candidates))
        for candidate in found:
            name = f"candidate {candidate!r}"
            encode_prompt(tokenizer, candidate, on_unknown=on_unknown, name=name, remedy=REMEDY)
    return rank(engines, tokenizer, (before, after), list(dict.fromkeys(found)), mixture=mixture)


def propose(engines: dict[str, Engine], tokenizer: Tokenizer, sides: Gap, *, beam: int, max_tokens: int) -> list[str]:
    """Search for what may stand in a gap.

    Each model looks, from its own side, for the most probable runs of 1, 2, ... tokens, and proposes those after which the
    text on the other side of the gap most probably continues. With two models, the most probable tokens by both are proposed
    too.

    Args:
        engines: by direction, forward, backward or both.
        beam: runs that are kept at each length, and that each model proposes at most.
    """
    found: dict[str, None] = {}
    boundary = [tokenizer.vocabulary.boundary_id]
    if len(engines) == 2:
        log_probs_V = score_cloze(engines["forward"], engines["backward"], tokenizer, sides)["both"] + _bias(tokenizer)
        top_ids = np.argsort(-log_probs_V, kind="stable")[: min(beam, np.count_nonzero(np.isfinite(log_probs_V)))]
        for id in top_ids.tolist():
            found[_text(tokenizer, [id])] = None
    for direction, engine in engines.items():
        ordered = (sides.left, sides.right) if direction == "forward" else (sides.right[::-1], sides.left[::-1])
        context, beyond = ordered
        first_beyond = [*beyond[:1].tolist(), *boundary][0]
        for ids in _runs(engine, tokenizer, context, first_beyond, beam=beam, max_tokens=max_tokens):
            found[_text(tokenizer, ids if direction == "forward" else ids[::-1])] = None
    return [text for text in found if text]


def _bias(tokenizer: Tokenizer) -> npt.NDArray[np.float64]:
    """Rule out what fills no gap within a line: line ends, boundaries and <unk>."""
    vocabulary = tokenizer.vocabulary
    bias = np.zeros(len(vocabulary))
    ruled_out = [vocabulary.boundary_id, vocabulary.unknown_id, vocabulary.ids.get("\n")]
    bias[[id for id in ruled_out if id is not None]] = -np.inf
    return bias


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return decode(tokenizer, ids).strip(SPACES)


def _runs(
    engine: Engine,
    tokenizer: Tokenizer,
    context: npt.NDArray[np.int64],
    first_beyond: int,
    *,
    beam: int,
    max_tokens: int,
) -> list[list[int]]:
    """Return the runs of tokens after a context that most probably end before a token, as the engine reads: `beam` of them."""
    stepper = stepper_for(engine, engine.initial_state())
    prompt_state = prefill(stepper, tokenizer, context)
    stepper = stepper.fork(prompt_state.state)
    bias_V, log_probs_BV = _bias(tokenizer), log_softmax(prompt_state.logits)
    runs: list[list[int]] = [[]]
    scores = np.zeros(1)
    found: list[tuple[float, list[int]]] = []
    for _ in range(max_tokens):
        grown_BV = scores[:, None] + log_probs_BV + bias_V
        best = list(islice(best_continuations(grown_BV, beam), beam))
        rows, ids = np.array(best, dtype=np.int64).reshape(-1, 2).T
        runs = [[*runs[row], id] for row, id in best]
        scores = grown_BV[rows, ids]
        stepper.keep(rows.tolist())
        log_probs_BV = log_softmax(stepper.step(ids))
        found += zip((scores + log_probs_BV[:, first_beyond]).tolist(), runs, strict=True)
    return [ids for _, ids in sorted(found, key=lambda run: -run[0])[:beam]]


def rank(
    engines: dict[str, Engine],
    tokenizer: Tokenizer,
    sentence: tuple[str, str],
    candidates: Sequence[str],
    *,
    mixture: Mixture | None = None,
) -> list[Filling]:
    """Rank candidates by the probability of the sentence that they make, the most probable first.

    Args:
        sentence: what stands before the gap, and after it.
        mixture: the n-gram model to mix a forward network with.
    """
    before, after = sentence
    options = ScoreOptions(mix_ngram=mixture is not None)
    texts = [before + candidate + after for candidate in candidates]
    scored = {
        direction: list(score_units(estimator_of(engine, tokenizer, mixture), tokenizer, texts, options))
        for direction, engine in engines.items()
    }
    of_each = [dict(zip(scored, row, strict=True)) for row in zip(*scored.values(), strict=True)]
    sums = [averaged(tuple(scores.values())).log_prob_nats for scores in of_each]
    total = np.logaddexp.reduce(sums)
    found = [
        Filling(candidate, scores, nats, float(np.exp(nats - total)))
        for candidate, scores, nats in zip(candidates, of_each, sums, strict=True)
    ]
    return sorted(found, key=lambda filling: -filling.log_prob_nats)
