"""Completion of words, against the sum over all token sequences of tiny models."""

import codecs
from types import SimpleNamespace

import numpy as np
import pytest
import regex

from charnn.config import Architecture, TextOptions
from charnn.errors import ModelError, OptionError, TextError, UnknownTokenError
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import read_context
from charnn.sampling import completion
from charnn.sampling.completion import WordCompleter
from charnn.text.tokenizers import ByteTokenizer, CharTokenizer, byte_vocabulary
from charnn.text.vocabulary import Vocabulary
from tests.conftest import ramp_weights, trained_tokenizer

WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:['\-][\p{L}\p{M}\p{N}_]+)*")
SPELLED = CharTokenizer(Vocabulary(("<unk>", "\n", " ", "a", "б", "'", "-", "\u0301"), (0,) * 8, 1, 0), "stream")
TEXT = "the river rises, the rivers rise; don't wait\n" * 30


PIECES = [None, *SPELLED.vocabulary.tokens[1:]]
SUBWORDS = trained_tokenizer(TextOptions(tokenizer="subword", vocab_size=30), TEXT)
WORDS = trained_tokenizer(TextOptions(tokenizer="word"), TEXT)
BYTES = ByteTokenizer(byte_vocabulary(np.zeros(256, dtype=np.int64), "stream"), "stream")
SOME_BYTES = "aé—' ".encode()  # é and the dash are two and three bytes


def model_of(tokenizer, direction="forward"):
    architecture = Architecture("lstm", len(tokenizer.vocabulary), 4, 6, 1, direction=direction)
    weights = ramp_weights(architecture, 0.8)
    if tokenizer is BYTES:
        weights["output.bias"][[id for id in range(256) if id not in SOME_BYTES]] = -40
    return SimpleNamespace(architecture=architecture, weights=weights, tokenizer=tokenizer, path="runs/tiny")


def found(tokenizer, text, top=5, **options):
    return WordCompleter(model_of(tokenizer)).complete(text, top=top, **options)


def enumerated(tokenizer, before, typed, pieces, most_tokens):
    """Add up the probabilities of all token sequences by the word that each spells, divided by those that spell what is typed.

    Args:
        before: the context, after which the tokens follow.
        typed: what they must spell first.
        pieces: the bytes of each token, None for unknown ones and those that are too improbable to matter.
    """
    engine = Engine.of(model_of(tokenizer))
    words, spelled, ahead = (
        {},
        0.0 if typed else 1.0,
        [(b"", 1.0, *read_context(engine, tokenizer, tokenizer.encode(before)))],
    )
    for _ in range(most_tokens):
        grown = []
        for text, prob, logits, state in ahead:
            probs = prob * np.exp(log_softmax(logits))[0]
            for id, piece in enumerate(pieces):
                whole = text + (piece or b"")
                if piece is None or not (whole.startswith(typed) or typed.startswith(whole)):
                    continue
                spelled += probs[id] if len(text) < len(typed) <= len(whole) else 0.0
                may_go_on, word = read(decoded(whole[typed[:1] == b" " :]))
                if may_go_on:
                    grown.append((whole, probs[id], *engine.step(np.array([id]), state)))
                elif word:
                    words[word] = words.get(word, 0.0) + probs[id]
        ahead = grown
    return {word: prob / spelled for word, prob in words.items()}


def decoded(text):
    """Return the complete characters of bytes; those that are not UTF-8 are surrogates."""
    return codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(text)


def read(text):
    """Return whether a text may still be part of one word, and the word at its beginning."""
    match = WORD.match(text)
    end = match.end() if match else 0
    return not text or (end > 0 and text[end:] in ("", "'", "-")), text[:end]


def assert_agree(result, expected):
    best = sorted(expected, key=lambda word: -expected[word])[: len(result.words)]
    assert [each.word for each in result.words] == best
    assert [each.prob for each in result.words] == pytest.approx([expected[word] for word in best], rel=1e-4)
    assert result.others_prob == pytest.approx(1 - sum(each.prob for each in result.words))


def as_bytes(pieces):
    return [None if piece is None else piece.encode() for piece in pieces]


@pytest.mark.parametrize("typed", ["a", "б", "á", "a'", "a-"])
def test_completions_with_characters_are_the_sum_over_all_strings(typed):
    """Letters of two scripts, a combining mark, and joiners, which belong to a word if a letter follows."""
    result = found(SPELLED, f"a {typed}")
    end = {f"{typed}{word}": prob for word, prob in suffixes(f"a {typed}", typed).items()}
    assert_agree(result, end)
    assert all(each.word == typed + each.completion for each in result.words)
    assert result.typed == typed


def suffixes(before, typed):
    """Return what may follow the letters of a word, by enumeration: the word is put before each string."""
    engine = Engine.of(model_of(SPELLED))
    logits, state = read_context(engine, SPELLED, SPELLED.encode(before))
    words, ahead = {}, [("", 1.0, logits, state)]
    for _ in range(6):
        grown = []
        for text, prob, logits, state in ahead:
            probs = prob * np.exp(log_softmax(logits))[0]
            for id, piece in enumerate(PIECES[1:], start=1):
                may_go_on, word = read(typed + text + piece)
                if may_go_on:
                    grown.append((text + piece, probs[id], *engine.step(np.array([id]), state)))
                elif word.startswith(typed):
                    words[word.removeprefix(typed)] = words.get(word.removeprefix(typed), 0.0) + probs[id]
        ahead = grown
    return words


def test_after_a_space_whole_words_are_proposed():
    engine_words = {word: prob for word, prob in suffixes("a ", "").items() if word}
    result = found(SPELLED, "a ")
    assert_agree(result, engine_words)
    assert [each.completion for each in result.words] == [each.word for each in result.words]
    assert result.others_prob > 0  # also what begins no word: a second space, the end of the line


@pytest.mark.parametrize(
    ("text", "before", "typed"), [("the ri", "the", b" ri"), ("the ", "the", b" "), ("ri", "", b"ri")]
)
def test_completions_with_subwords_add_up_all_ways_to_cut_the_typed_and_the_rest(text, before, typed):
    pieces = [token.replace("▁", " ") for token in SUBWORDS.vocabulary.tokens]
    pieces[SUBWORDS.vocabulary.unknown_id] = None
    assert any(piece and piece.startswith(" ri") and len(piece) > 3 for piece in pieces)
    assert_agree(
        found(SUBWORDS, text, top=2), enumerated(SUBWORDS, before, typed, as_bytes(pieces), 5 - (typed != b"ri"))
    )


def test_completions_with_bytes_are_those_of_characters():
    pieces = [bytes([id]) if id in SOME_BYTES else None for id in range(256)]
    result = found(BYTES, "é ", top=3)
    assert {"a", "é"} & {each.word for each in result.words}
    expected = enumerated(BYTES, "é ", b"", pieces, 6)
    assert_agree(result, expected)


def test_completions_with_words_are_normalized_over_the_words_that_begin_so():
    logits, _ = read_context(Engine.of(model_of(WORDS)), WORDS, WORDS.encode("the"))
    probs = np.exp(log_softmax(logits))[0]
    expected = {word: probs[WORDS.vocabulary.ids[word]] for word in ("river", "rises", "rivers", "rise")}
    total = sum(expected.values())
    result = found(WORDS, "the ri", top=None)
    assert len(result.words) == 4
    assert_agree(result, {word: prob / total for word, prob in expected.items()})
    everything = found(WORDS, "the ", top=None)
    assert {each.word for each in everything.words} == {"the", "don't", "wait", *expected}
    assert [each.completion for each in found(WORDS, "the don'", top=None).words] == ["t"]


def test_a_text_that_grows_gives_the_same_as_a_new_one():
    completer = WordCompleter(model_of(SPELLED))
    for text in ("a", "aa ", "aa б", "a"):
        assert completer.complete(text, top=3) == found(SPELLED, text, top=3)


def test_an_n_gram_model_is_interpolated():
    uniform = np.log(np.full(len(PIECES), 1 / len(PIECES)))
    mixture = SimpleNamespace(log_distribution=lambda *_: uniform)
    (best, *_) = WordCompleter(model_of(SPELLED), mixture=mixture).complete("a ", top=1).words
    share = 1 / len(PIECES)
    ends, joined = (
        2 * share,
        2 * share * (4 * share),
    )  # a space or line end; or a joiner and then no letter (and not <unk>)
    assert best.prob == pytest.approx(share * (ends + joined), rel=1e-4)


def test_what_cannot_be_completed_is_refused_in_one_line(monkeypatch, caplog):
    with pytest.raises(
        ModelError, match="runs/tiny: reads from right to left, but words are completed by a forward model"
    ):
        WordCompleter(model_of(SPELLED, direction="backward"))
    with pytest.raises(
        OptionError, match=r"--top: found 0 \(all\), but a char model can write any word; pass a number from 1"
    ):
        found(SPELLED, "a", top=None)
    with pytest.raises(UnknownTokenError, match="prompt: character 'q'"):
        found(SPELLED, "q a")
    with pytest.raises(TextError, match="TEXT: found 'zz' at its end, but none of the model's 13 words begins so"):
        found(WORDS, "the zz")
    with pytest.raises(TextError, match="found 'zz' at the end of 'the zz', which the model's tokens cannot spell"):
        found(SUBWORDS, "the zz", on_unknown="unk")
    monkeypatch.setattr(completion, "MOST_EXPANDED", 5)
    assert found(SPELLED, "a ").words
    assert "stopped after 5 beginnings" in caplog.text
