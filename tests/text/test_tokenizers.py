import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import TextOptions
from charnn.errors import ModelError, OptionError
from charnn.text.tokenizers import decode, load_tokenizer, text_encoding
from charnn.text.words import GLUE, expected_gap, split_words
from tests.conftest import FABLES, trained_tokenizer

TEXT = FABLES.read_text(encoding="utf-8")[:30_000]


def trained(text: str = TEXT, **options):
    return trained_tokenizer(TextOptions(**options), text)


KINDS = [
    pytest.param({}, id="char"),
    pytest.param({"tokenizer": "byte"}, id="byte"),
    pytest.param({"tokenizer": "word", "min_count": 1}, id="word"),
    pytest.param({"tokenizer": "subword", "vocab_size": 300}, id="unigram"),
    pytest.param({"tokenizer": "subword", "vocab_size": 300, "subword_model": "bpe"}, id="bpe"),
]


@pytest.mark.parametrize("options", KINDS)
def test_a_text_of_known_tokens_comes_back_letter_for_letter(options):
    tokenizer = trained(**options)
    assert decode(tokenizer, tokenizer.encode(TEXT)) == TEXT


@pytest.mark.parametrize("options", KINDS)
def test_tokens_and_ids_agree_and_stand_where_they_say(options):
    tokenizer = trained(**options)
    text = "The fox's lantern -- 3 coppers,\n\n  said she."
    tokens = tokenizer.tokenize(text)
    assert [token.id for token in tokens] == tokenizer.encode(text).tolist()
    for token in tokens:
        if tokenizer.kind != "byte" and token.text != GLUE:
            assert text[token.start : token.start + len(token.text)] == token.text


@pytest.mark.parametrize("options", KINDS)
def test_a_tokenizer_survives_its_files(options):
    tokenizer = trained(**options)
    again = load_tokenizer("run", tokenizer.files())
    assert again.vocabulary == tokenizer.vocabulary
    assert again.files() == tokenizer.files()
    assert again.encode(TEXT[:500]).tolist() == tokenizer.encode(TEXT[:500]).tolist()


@pytest.mark.parametrize(
    "options", [*KINDS, pytest.param({"tokenizer": "word", "pretokenized": True}, id="pretokenized")]
)
def test_counts_are_those_of_the_training_text(options):
    tokenizer = trained(**options)
    found = np.bincount(tokenizer.encode(TEXT), minlength=len(tokenizer.vocabulary))
    assert found.tolist() == list(tokenizer.vocabulary.counts)


CHARACTERS, BYTES, WORDS = trained(), trained(tokenizer="byte"), trained(tokenizer="word", min_count=1)
SUBWORDS = trained(tokenizer="subword", vocab_size=300)


@given(st.text(alphabet=sorted(set(TEXT))))
def test_any_string_of_known_characters_comes_back(text):
    assert decode(CHARACTERS, CHARACTERS.encode(text)) == text


@given(st.text())
def test_any_string_at_all_comes_back_from_bytes(text):
    assert decode(BYTES, BYTES.encode(text)) == text


@given(st.text())
def test_any_string_has_as_many_ids_as_tokens(text):
    for tokenizer in (CHARACTERS, BYTES, WORDS):
        assert tokenizer.encode(text).tolist() == [token.id for token in tokenizer.tokenize(text)]


@given(
    st.lists(
        st.sampled_from(
            ["fox", "don't", "3,000.5", ",", '"', "'", "-", "--", "(", ")", "...", " ", "  ", "\t", "\n", "_"]
        )
    )
)
def test_words_keep_their_spacing_whatever_it_is(parts):
    text = "".join(parts)
    tokenizer = trained(text + "\nx", tokenizer="word", min_count=1)
    assert decode(tokenizer, tokenizer.encode(text)) == text


@given(st.text(alphabet=sorted(set(TEXT)), max_size=30))
def test_subwords_give_any_string_of_known_characters_back(text):
    assert decode(SUBWORDS, SUBWORDS.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat, which ate, was full.", ["The", "cat", ",", "which", "ate", ",", "was", "full", "."]),
        ('"Who?" said she.', ['"', "Who", "?", '"', "said", "she", "."][:4] + [" ", "said", "she", "."]),
        ("well-known (so)", ["well", "-", "known", "(", "so", ")"]),
        ("a  b", ["a", "  ", "b"]),
        ("x.y", ["x", ".", GLUE, "y"]),
        ("end ", ["end", " "]),
        ("one\n two", ["one", "\n", " ", "two"]),
        ("1,000.50 don't", ["1,000.50", "don't"]),
    ],
)
def test_words_by_hand(text, words):
    assert [word for word, _ in split_words(text)] == words


def test_gaps_are_expected_between_words_and_not_before_commas():
    assert [expected_gap(before, after) for before, after in pairwise(["a", "b", ",", "c", "\n", "d"])] == [
        " ",
        "",
        " ",
        "",
        "",
    ]


def test_unknown_tokens_get_the_id_of_unk():
    tokenizer = trained("abc abc\n")
    assert tokenizer.encode("aéc").tolist() == [tokenizer.vocabulary.ids["a"], 0, tokenizer.vocabulary.ids["c"]]
    words = trained("one two two\n", tokenizer="word")
    assert words.encode("one two").tolist() == [0, words.vocabulary.ids["two"]]
    assert decode(words, [0, words.vocabulary.ids["two"]]) == "<unk> two"


def test_pretokenized_text_is_split_at_white_space_and_holds_its_own_unk():
    tokenizer = trained("the <unk> cat . \n the dog . \n", tokenizer="word", pretokenized=True)
    assert [token.text for token in tokenizer.tokenize("the  <unk>\ncat")] == ["the", "<unk>", "\n", "cat"]
    assert tokenizer.encode("<unk> the").tolist() == [0, tokenizer.vocabulary.ids["the"]]
    assert decode(tokenizer, tokenizer.encode("the cat\ndog")) == "the cat\ndog"
    assert tokenizer.vocabulary.counts[0] == 1


def test_bytes_that_are_no_utf8_come_back_as_they_were():
    text = b"\xff\xfea\x80".decode("utf-8", "surrogateescape")
    assert BYTES.encode(text).tolist() == [0xFF, 0xFE, 0x61, 0x80]
    assert decode(BYTES, BYTES.encode(text)) == text
    assert text_encoding(BYTES, "cp1252") != "cp1252"
    assert text_encoding(CHARACTERS, "cp1252") == "cp1252"


def test_a_byte_decoder_holds_back_what_is_no_whole_character():
    decoder = BYTES.decoder()
    assert [decoder.push(byte) for byte in "é!".encode()] == ["", "é", "!"]


def test_documents_have_a_boundary_of_their_own():
    for options in ({}, {"tokenizer": "byte"}, {"tokenizer": "word"}, {"tokenizer": "subword", "vocab_size": 300}):
        vocabulary = trained(unit="document", **options).vocabulary
        assert vocabulary.tokens[vocabulary.boundary_id] == "</s>"
    assert decode(trained(unit="document", tokenizer="byte"), [0x41, 256, 0x42]) == "AB"


def test_too_few_subwords_are_a_usage_error_that_names_the_least():
    with pytest.raises(OptionError, match=r"--vocab-size: found 10, but this text needs at least \d+ subwords"):
        trained(tokenizer="subword", vocab_size=10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "run/tokenizer.json: is damaged, not JSON"),
        (b"[]", "run/tokenizer.json: found no format_version, so it is not a charnn file"),
        (b'{"format_version": 99}', "run/tokenizer.json: has format version 99, this charnn reads up to 2"),
        (b'{"format_version": 1}', "run/tokenizer.json: is not a valid tokenizer (KeyError"),
    ],
)
def test_damaged_tokenizers_are_named(content, message):
    with pytest.raises(ModelError) as error:
        load_tokenizer("run", {"tokenizer.json": content})
    assert str(error.value).startswith(message)


def test_a_tokenizer_of_unknown_kind_is_refused():
    stored = json.loads(CHARACTERS.files()["tokenizer.json"])
    content = json.dumps({**stored, "kind": "syllable"}).encode()
    with pytest.raises(ModelError, match="unknown kind 'syllable'"):
        load_tokenizer("run", {"tokenizer.json": content})


def test_combining_marks_stay_with_their_word():
    assert [word for word, _ in split_words("हिन्दी में")] == ["हिन्दी", "में"]
    assert [word for word, _ in split_words("cafe\u0301 x")] == ["cafe\u0301", "x"]


@pytest.mark.parametrize("unit", ["stream", "line", "document"])
def test_the_boundary_in_a_pretokenized_text_is_the_boundary(unit):
    tokenizer = trained("a b </s> c <unk>\n", tokenizer="word", pretokenized=True, unit=unit)
    vocabulary = tokenizer.vocabulary
    a, b = vocabulary.ids["a"], vocabulary.ids["b"]
    assert tokenizer.encode("a </s> b <unk>").tolist() == [a, vocabulary.boundary_id, b, vocabulary.unknown_id]
    assert tokenizer.encode("a <eos>\nb").tolist() == [a, vocabulary.ids["\n"], b]
    assert [token.id for token in tokenizer.tokenize("a </s>\nb")] == [a, vocabulary.boundary_id, b]
    assert (set(vocabulary.tokens) == {"<unk>", "\n", "</s>", "a", "b", "c"}) == (unit == "document")


def test_it_is_unknown_to_models_of_older_versions():
    text = "a <eos> b </s> c\n"
    stored = json.loads(trained(text, tokenizer="word", pretokenized=True).files()["tokenizer.json"])
    stored |= {"format_version": 1, "tokens": [*stored["tokens"], "<eos>"], "counts": [*stored["counts"], 1]}
    tokenizer = load_tokenizer("run", {"tokenizer.json": json.dumps(stored).encode()})
    ids = tokenizer.vocabulary.ids
    assert tokenizer.encode("a <eos> </s>").tolist() == [ids["a"], ids["<eos>"], tokenizer.vocabulary.unknown_id]


@pytest.mark.parametrize("subword_model", ["unigram", "bpe"])
@pytest.mark.parametrize("unit", ["stream", "document"])
def test_what_sentencepiece_reserves_is_text_like_any_other(subword_model, unit):
    text = "a line\u2581with \u2585 bars \u2581\u2581 and <unk> and </s>\n" * 20
    options = {"tokenizer": "subword", "vocab_size": 60, "subword_model": subword_model, "unit": unit}
    tokenizer = trained(text, **options)
    ids = tokenizer.encode(text)
    assert decode(tokenizer, ids) == text
    assert tokenizer.vocabulary.unknown_id not in ids
    assert "".join(token.text for token in tokenizer.tokenize(text)) == text
    assert load_tokenizer("run", tokenizer.files()).encode(text).tolist() == ids.tolist()


def test_a_space_symbol_is_unknown_where_the_training_text_has_none():
    unknown = [token.text for token in SUBWORDS.tokenize("fox \u2581x") if token.id == SUBWORDS.vocabulary.unknown_id]
    assert unknown == ["\u2581"]


def test_subword_models_of_older_versions_keep_their_ids():
    files = SUBWORDS.files()
    header = json.dumps(json.loads(files["tokenizer.json"]) | {"format_version": 1}).encode()
    older = load_tokenizer("run", files | {"tokenizer.json": header})
    assert older.encode("the\u2581fox").tolist() == older.encode("the fox").tolist()
    assert older.encode(TEXT).tolist() == SUBWORDS.encode(TEXT).tolist()


def test_subwords_are_learned_from_very_long_lines_too():
    text = "the heron and the fox counted the rain " * 60_000
    tokenizer = trained(text, tokenizer="subword", vocab_size=60)
    assert len(tokenizer.vocabulary) > 30
    assert tokenizer.vocabulary.counts[0] == 0


@pytest.mark.parametrize("kind", ["char", "byte", "word", "subword"])
@given(text=st.text(st.characters(), max_size=20))
def test_half_of_a_surrogate_pair_is_a_token_like_any_that_is_not_known(kind, text):
    tokenizer = {"char": CHARACTERS, "byte": BYTES, "word": WORDS, "subword": SUBWORDS}[kind]
    ids = tokenizer.encode(text)
    assert [token.id for token in tokenizer.tokenize(text)] == ids.tolist()


SCRIPTS = {
    "chinese": "".join(chr(0x4E00 + place % 900) + "\n" * (place % 30 == 29) for place in range(2700)),
    "japanese": "これは日本語の文です。\n" * 9,
    "thai": "แมวนั่งบนเสื่อ\n" * 9,
    "arabic": "القط جلس على الحصير\n" * 9,
    "hindi": "बिल्ली चटाई पर बैठी\n" * 9,
    "korean": "고양이가 앉았다\n" * 9,
    "emoji": "😀👍🏽👩‍👩‍👧\n" * 9,
    "two letters": "ab",
}


@pytest.mark.parametrize("subword_model", ["unigram", "bpe"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_subwords_of_any_script_are_trained_by_default(script, subword_model):
    text = SCRIPTS[script]
    tokenizer = trained_tokenizer(TextOptions(tokenizer="subword", subword_model=subword_model), text)
    ids = tokenizer.encode(text)
    assert tokenizer.vocabulary.unknown_id not in ids
    decoder = tokenizer.decoder()
    assert "".join(decoder.push(int(id)) for id in ids) + decoder.flush() == text


def test_a_text_that_sentencepiece_refuses_is_one_line():
    with pytest.raises(OptionError, match=r"^--tokenizer subword: SentencePiece refuses this text \(.*\); use --tok"):
        trained_tokenizer(TextOptions(tokenizer="subword"), "\n\n")
    with pytest.raises(OptionError, match=r"^--vocab-size: found 100, but this text needs at least \d+ subwords"):
        trained_tokenizer(TextOptions(tokenizer="subword", vocab_size=100), SCRIPTS["chinese"])


@pytest.mark.parametrize("options", [TextOptions(tokenizer="word"), TextOptions(tokenizer="word", pretokenized=True)])
def test_a_copied_decoder_goes_on_from_the_same_token_on_its_own(options):
    tokenizer = trained_tokenizer(options, "a b .\na b .\n")
    ids = tokenizer.vocabulary.ids
    decoder = tokenizer.decoder()
    assert decoder.push(ids["a"]) == "a"
    copied = decoder.copy()
    assert copied.push(ids["\n"]) == "\n"
    assert copied.push(ids["b"]) == "b"
    assert decoder.push(ids["b"]) == " b"
