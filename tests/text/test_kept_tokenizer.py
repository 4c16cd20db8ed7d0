"""The tokenizer of an earlier model on another text: coverage, new tokens after the old ones, and the rest as before."""

import pytest

from charnn.config import TextOptions
from charnn.errors import OptionError
from charnn.text.kept_tokenizer import KeptTokenizer, adapt_tokenizer, count_tokens, with_unit
from charnn.text.tokenizers import decode
from tests.conftest import trained_tokenizer

OLD = "the fox slept. the heron slept.\n" * 20
NEW = "the fox sleeps; ёж спит, ёж ест.\n" * 3
KINDS = {
    "char": TextOptions(),
    "word": TextOptions(tokenizer="word"),
    "pretokenized": TextOptions(tokenizer="word", pretokenized=True),
}


def adapted(options, *, extend=True, new=NEW, **limits):
    kept = KeptTokenizer(trained_tokenizer(options, OLD), "runs/old", extend)
    return kept, adapt_tokenizer(
        kept, TextOptions(tokenizer=options.tokenizer, **limits), lambda: iter([new]), "new.txt"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_counted_as_it_is_encoded(kind):
    tokenizer = trained_tokenizer(KINDS[kind], OLD)
    counts = count_tokens(tokenizer, iter([NEW, OLD]))
    tokens = [token.text for text in (NEW, OLD) for token in tokenizer.tokenize(text)]
    assert counts == {token: tokens.count(token) for token in tokens}


@pytest.mark.parametrize("kind", KINDS)
def test_new_tokens_stand_after_the_old_ones_which_keep_their_ids(kind):
    kept, (tokenizer, _, notes) = adapted(KINDS[kind])
    old, new = kept.tokenizer.vocabulary, tokenizer.vocabulary
    assert new.tokens[: len(old)] == old.tokens
    assert (new.boundary_id, new.unknown_id) == (old.boundary_id, old.unknown_id)
    assert list(new.counts[len(old) :]) == sorted(new.counts[len(old) :], reverse=True)
    assert decode(tokenizer, tokenizer.encode(NEW)) == NEW
    assert kept.tokenizer.encode(OLD).tolist() == tokenizer.encode(OLD).tolist()
    assert sum(new.counts) == sum(old.counts) + len(tokenizer.encode(NEW))
    assert f"--extend-vocab adds {len(new) - len(old)} tokens" in notes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_without_new_tokens_the_tokenizer_is_the_old_one_and_its_coverage_is_told(kind):
    kept, (tokenizer, _, (note,)) = adapted(KINDS[kind], extend=False)
    assert tokenizer.files() == kept.tokenizer.files()
    ids = tokenizer.encode(NEW)
    rate = (ids == tokenizer.vocabulary.unknown_id).mean()
    what = "characters" if kind == "char" else "words"
    assert note.startswith(f"new.txt: {rate:.2%} of its {what} are not in the vocabulary of runs/old: ")
    assert note.endswith("; they become <unk>; --extend-vocab adds them to the vocabulary")
    _, (_, _, (note,)) = adapted(KINDS[kind], new=OLD)
    assert note == f"new.txt: the vocabulary of runs/old has all of its {what}"


def test_the_most_frequent_unknown_characters_are_named_first():
    _, (_, _, (note,)) = adapted(TextOptions(), extend=False, new="жжж щщ е \t" + "абвгд")
    assert ": ж (3), щ (2), ⇥ (1), а (1), б (1), в (1), г (1), д (1) and 1 other; they" in note


def test_limits_apply_to_new_tokens():
    _, (tokenizer, examples, (note,)) = adapted(KINDS["word"], min_count=4)
    assert tokenizer.vocabulary.tokens[-1] == "ёж"  # six times; the others three times
    assert "remain <unk>" in note
    assert "спит" in examples
    kept, (tokenizer, _, _) = adapted(
        TextOptions(), vocab_size=len(trained_tokenizer(TextOptions(), OLD).vocabulary) + 2
    )
    assert len(tokenizer.vocabulary) == len(kept.tokenizer.vocabulary) + 2
    with pytest.raises(OptionError, match=r"--vocab-size: found 5, but runs/old has \d+ tokens already"):
        adapted(TextOptions(), vocab_size=5)


def test_characters_that_no_subword_has_are_told():
    options = TextOptions(tokenizer="subword", vocab_size=40)
    kept = KeptTokenizer(trained_tokenizer(options, OLD), "runs/old")
    tokenizer, _, (note,) = adapt_tokenizer(kept, options, lambda: iter([NEW]), "new.txt")
    assert tokenizer is kept.tokenizer
    num_unknown = sum(NEW.count(character) for character in "ёжспите;,")
    assert f"{num_unknown / len(NEW):.2%} of its characters" in note
    assert note.endswith("; they become <unk>; a new run without --init-from would know them")


def test_bytes_are_all_known():
    options = TextOptions(tokenizer="byte")
    kept = KeptTokenizer(trained_tokenizer(options, OLD), "runs/old")
    assert adapt_tokenizer(kept, options, lambda: iter([NEW]), "new.txt") == (kept.tokenizer, (), ())


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_may_be_another(kind):
    tokenizer = trained_tokenizer(KINDS[kind], OLD)
    lines = with_unit(tokenizer, "line")
    assert (lines.unit, tokenizer.unit) == ("line", "stream")
    assert lines.vocabulary == tokenizer.vocabulary
