"""Scores in the formats of other tools, read back by parsers that know nothing of what wrote them."""

import io
import json
import math
import re
from itertools import pairwise

import pandas
import pytest

from charnn.config import Architecture, ScoreOptions
from charnn.files import to_json
from charnn.inference.engine import Engine
from charnn.ngrams.spelling import UniformSpelling
from charnn.scoring import foreign_formats, formats
from charnn.scoring.estimators import NetworkEstimator
from charnn.scoring.scorer import score_units
from charnn.scoring.scores import Score
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import Vocabulary
from tests.conftest import ramp_weights

LETTERS = ("<unk>", "\n", "a", "b", " ", "=", '"', "\t", "\u2581", "NA")
TOKENIZER = CharTokenizer(Vocabulary(LETTERS, (1,) * len(LETTERS), 1, 0), "line")
SHAPE = Architecture("gru", len(LETTERS), 4, 6, 1)
ENGINE = Engine(SHAPE, ramp_weights(SHAPE, 0.7))
TEXTS = ["ab a", "", 'é="b" =\t', "  ", "aéé"]


def lines_of(form, texts=TEXTS, spelling=None, **options):
    made = ScoreOptions(format=form, **options)
    writer = {
        "kenlm": lambda: foreign_formats.Kenlm(made),
        "srilm": lambda: foreign_formats.Srilm(made, "some.txt"),
        "lmzoo": lambda: foreign_formats.LmZoo(made),
        "neural-complexity": lambda: foreign_formats.NeuralComplexity(made),
        "tsv": lambda: formats.TabSeparated(made),
        "jsonl": lambda: formats.JsonLines(made),
    }[form]()
    total, lines = Score(), list(writer.begin())
    scores = list(score_units(NetworkEstimator(ENGINE), TOKENIZER, texts, made, spelling=spelling))
    for score in scores:
        lines += writer.lines(score)
        total += score
    return [*lines, *writer.end(total, len(scores))], scores, total


def parsed_kenlm(lines):
    """Read what KenLM's query writes: fields by tabs, each `word=ID NGRAMLEN LOG10P`; `Total: SUM OOV: COUNT` last."""
    sentences, summary = [], {}
    for line in lines:
        *fields, last = line.split("\t")
        total = re.fullmatch(r"Total: (\S+) OOV: (\d+)", last)
        if total is None:
            summary[fields[0].removesuffix(":")] = float(last)
            continue
        words = []
        for field in fields:
            named, length, log_prob = field.rsplit(" ", 2)
            word, id = named.rsplit("=", 1)
            words.append((word, int(id), int(length), float(log_prob)))
        sentences.append((words, float(total[1]), int(total[2])))
    return sentences, summary


def test_kenlm_perplexities_can_be_computed_from_the_lines():
    lines, scores, total = lines_of("kenlm")
    sentences, summary = parsed_kenlm(lines)
    assert len(sentences) == len(TEXTS)
    words = [word for sentence, _, _ in sentences for word in sentence]
    unknown = [word for word in words if word[1] == 0]
    including = 10 ** (-sum(word[3] for word in words) / len(words))
    excluding = 10 ** (-sum(word[3] for word in words if word[1]) / (len(words) - len(unknown)))
    assert summary["Perplexity including OOVs"] == pytest.approx(including, rel=1e-6)
    assert summary["Perplexity excluding OOVs"] == pytest.approx(excluding, rel=1e-6)
    assert summary["OOVs"] == len(unknown) == 3
    assert summary["Tokens"] == len(words) == total.num_tokens
    for (sentence, log_prob, num_oovs), score in zip(sentences, scores, strict=True):
        assert log_prob == pytest.approx(sum(word[3] for word in sentence), abs=1e-6)
        assert log_prob == pytest.approx(score.log_prob_nats / math.log(10), abs=1e-6)
        assert num_oovs == score.num_unknown
        assert [word[2] for word in sentence] == list(range(1, len(sentence) + 1))
        assert sentence[-1][0] == "</s>"
    assert [word[0] for word in sentences[2][0]] == ["é", "=", '"', "b", '"', "\u2581", "=", "<0x09>", "</s>"]
    assert len(sentences[1][0]) == 1


def test_srilm_reproduces_the_worked_check():
    # 9 words, 1 of them out of vocabulary, 1 sentence, logprob -20.406: ppl 185.068, ppl1 355.426. The three figures are
    # roundings of one sum, which lies between -20.405985 and -20.405996; the rounded one alone would give 185.069.
    assert foreign_formats.srilm_counts(1, 9, 1) == "1 sentences, 9 words, 1 OOVs"
    expected = "0 zeroprobs, logprob= -20.406 ppl= 185.068 ppl1= 355.426"
    assert foreign_formats.srilm_figures(-20.40599, 1, 9, 1) == expected
    ppl, ppl1 = (float(foreign_formats.srilm_figures(-20.406, 1, 9, 1).split()[place]) for place in (5, 7))
    assert (ppl, ppl1) == pytest.approx((185.068, 355.426), rel=1e-5)


def test_srilm_lines_have_its_layout():
    lines, scores, total = lines_of("srilm", ["ab", "bé"])
    first = scores[0].tokens
    assert lines[0] == "a b"
    assert (
        lines[1]
        == f"\tp( a | <s> ) \t= [RNN] {math.exp(first[0].log_prob_nats):g} [ {first[0].log_prob_nats / math.log(10):g} ]"
    )
    assert lines[2].startswith("\tp( b | a ...) \t= [RNN] ")
    assert lines[3].startswith("\tp( </s> | b ...) \t= [RNN] ")
    assert lines[4] == "1 sentences, 2 words, 0 OOVs"
    assert re.fullmatch(r"0 zeroprobs, logprob= \S+ ppl= \S+ ppl1= \S+", lines[5])
    assert lines[6] == ""
    assert lines[9] == "\tp( <unk> | b ...) \t= [OOV] 0 [ -inf ]"
    assert lines[10].startswith("\tp( </s> | <unk> ...) \t= [RNN] ")
    assert lines[11] == "1 sentences, 2 words, 1 OOVs"
    assert lines[-2] == "file some.txt: 2 sentences, 4 words, 1 OOVs"
    known = total.log_prob_nats - total.unknown_log_prob_nats
    log10 = known / math.log(10)
    assert lines[-1] == f"0 zeroprobs, logprob= {log10:g} ppl= {10 ** (-log10 / 5):g} ppl1= {10 ** (-log10 / 3):g}"


def test_srilm_counts_spelled_words_as_known():
    lines, _, _ = lines_of("srilm", ["é"], spelling=UniformSpelling(8, is_run=False), spell=True)
    assert lines[1].startswith("\tp( é | <s> ) \t= [RNN] ")
    assert lines[3] == "1 sentences, 1 words, 0 OOVs"
    nothing, _, _ = lines_of("srilm", [""])
    assert nothing[3].endswith("ppl1= undefined")


def test_lm_zoo_output_loads_in_pandas():
    lines, scores, _ = lines_of("lmzoo")
    table = pandas.read_csv(io.StringIO("\n".join(lines)), sep="\t", keep_default_na=False)
    assert list(table.columns) == ["sentence_id", "token_id", "token", "surprisal"]
    tokens = [token for score in scores for token in score.tokens]
    assert len(table) == len(tokens)
    assert list(table.surprisal) == pytest.approx([-token.log_prob_nats / math.log(2) for token in tokens])
    assert set(table.sentence_id) == {1, 2, 3, 4, 5}
    assert list(table[table.sentence_id == 3].token) == ["é", "=", '"', "b", '"', "\u2581", "=", "<0x09>", "</s>"]
    assert list(table[table.sentence_id == 2].token_id) == [1]


def test_neural_complexity_output_loads_in_pandas():
    lines, scores, _ = lines_of("neural-complexity")
    table = pandas.read_csv(io.StringIO("\n".join(lines)), sep=" ", keep_default_na=False)
    assert list(table.columns) == ["word", "sentid", "sentpos", "wlen", "surp", "entropy", "entred"]
    third = table[table.sentid == 2]
    assert list(third.word) == ["é", "=", '"', "b", '"', "\u2581", "=", "<0x09>"]
    assert list(third.sentpos) == list(range(8))
    tokens = scores[2].tokens
    bits = [(token.entropy_nats or 0) / math.log(2) for token in tokens]
    assert list(third.entropy) == pytest.approx(bits[:-1])
    expected = [max(0, before - after) for before, after in pairwise(bits)]
    assert list(third.entred) == pytest.approx(expected)
    assert set(table.sentid) == {0, 2, 3, 4}


def test_words_stand_in_for_tokens_in_the_tables_of_psycholinguists():
    lines, scores, _ = lines_of("lmzoo", ["ab a", " b "], by_word=True)
    table = pandas.read_csv(io.StringIO("\n".join(lines)), sep="\t", keep_default_na=False)
    assert list(table.token) == ["ab", "a", "</s>", "b", "</s>"]
    assert table[table.sentence_id == 1].surprisal.sum() == pytest.approx(-scores[0].log_prob_nats / math.log(2))
    after, _, _ = lines_of("neural-complexity", ["ab a", " b "], by_word=True, spaces="after")
    assert [line.split()[0] for line in after[1:]] == ["ab", "a", "b"]


def test_records_say_what_they_know_of_each_token():
    (record,), _, _ = lines_of("jsonl", ["ab"], per_token=True, alternatives=2, log_base="2")
    first = record["tokens"][0]
    assert first.keys() == {
        "token",
        "id",
        "log_prob",
        "unknown",
        "start",
        "rank",
        "entropy",
        "entropy_reduction",
        "alternatives",
    }
    assert [each["log_prob"] for each in first["alternatives"]] == sorted(
        (each["log_prob"] for each in first["alternatives"]), reverse=True
    )
    assert record["tokens"][-1]["entropy_reduction"] is None
    assert json.loads(json.dumps(record)) == record
    header, *rows = lines_of("tsv", ["ab\t"], per_token=True, alternatives=2)[0]
    assert header.split("\t")[-1] == "alternatives"
    assert {row.count("\t") for row in [header, *rows]} == {11}
    header, *rows = lines_of("tsv", ["ab a"], by_word=True)[0]
    assert {row.count("\t") for row in [header, *rows]} == {8}
    assert [row.split("\t")[2:5] for row in rows] == [["ab", "0", "2"], ["a", "3", "4"], ["\\n", "4", "4"]]
    (unit,) = lines_of("tsv", ["a\tb"])[0][1:]
    assert unit.split("\t")[-1] == "a\\tb"


@pytest.mark.parametrize("character", ["\n", "\t", "\u00a0", "\u2003", "\x00", "\x7f", "\u2028", "\ud800"])
def test_no_token_breaks_a_column(character):
    shown = formats.visible_token(f"x{character}y")
    assert len(shown.split()) == 1
    assert shown.encode("utf-8")


@pytest.mark.parametrize("character", list("\v\f\x1c\x85\u2028\u2029\r\n\t"))
def test_a_record_is_one_line_for_every_reader(character):
    (record,) = lines_of("jsonl", [f"a{character}b"], per_token=True)[0]
    line = to_json(record)
    assert line.splitlines() == [line]
    assert json.loads(line)["tokens"][1]["token"] == character
    _, row = lines_of("tsv", [f"a{character}b"])[0]
    assert row.splitlines() == [row]
