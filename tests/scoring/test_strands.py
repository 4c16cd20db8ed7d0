"""Both strands of DNA, the names of records, and bits per base: trained, scored and written by the command line."""

import io
import itertools
import json
import math
from pathlib import Path

import pytest

from charnn.api import in_letters
from charnn.config import ScoreOptions
from charnn.scoring.scores import Score
from charnn.scoring.strands import mean_of_strands
from charnn.text.strands import reverse_complement
from charnn.training.planning.plan import _default_ngram_order
from tests.conftest import REPOSITORY

SMALL = (
    "--steps",
    30,
    "--hidden-size",
    8,
    "--embedding-size",
    4,
    "--batch-size",
    4,
    "--bptt",
    32,
    "--precision",
    "fp32",
)


@pytest.fixture(scope="module")
def genome_run(tmp_path_factory):
    """A model of both strands of the beginning of the genome."""
    from charnn.cli.main import main

    directory = tmp_path_factory.mktemp("genome")
    lines = (REPOSITORY / "corpora" / "genome.fa").read_text(encoding="ascii").split("\n")
    (directory / "g.fa").write_text("\n".join(lines[:200]) + "\n", encoding="ascii")
    with pytest.raises(SystemExit) as exit_:
        main([*map(str, ("train", directory / "g.fa", "-o", directory / "run", "--reverse-complement", *SMALL))])
    assert not exit_.value.code
    return directory / "run"


@pytest.fixture
def sequences(tmp_path):
    (tmp_path / "s.fa").write_text(">a one\nACGTTG\nacg\n>b\nCGTCAACGT\n>c\nGGGNNNA\n", encoding="ascii")
    return "s.fa"


def records(result):
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_the_mean_of_two_probabilities():
    given, other = Score(log_prob_nats=math.log(0.2), unknown_log_prob_nats=-1), Score(log_prob_nats=math.log(0.6))
    mean = mean_of_strands(given, other)
    assert math.exp(mean.log_prob_nats) == pytest.approx(0.4)
    assert mean.unknown_log_prob_nats == pytest.approx(-0.25)
    assert mean_of_strands(Score(log_prob_nats=-9e6), Score(log_prob_nats=-math.inf)).log_prob_nats == pytest.approx(
        -9e6 - math.log(2)
    )
    assert mean_of_strands(Score(log_prob_nats=-math.inf), Score(log_prob_nats=-math.inf)).log_prob_nats == -math.inf


@pytest.mark.parametrize("options", [(), ("--mix-ngram",)], ids=["network", "interpolated"])
def test_a_record_is_as_probable_as_its_other_strand(charnn, genome_run, sequences, options):
    a, b, _ = records(charnn("score", sequences, "-m", genome_run, "--format", "jsonl", *options))
    assert reverse_complement("ACGTTGACG") == "CGTCAACGT"
    assert a["log_prob"] == pytest.approx(b["log_prob"], abs=1e-4)
    assert [a["record"], a["file"], a["file_line"], b["record"], b["file_line"]] == ["a", "s.fa", 1, "b", 4]


def test_probabilities_of_all_sequences_sum_to_one(charnn, genome_run):
    """All pairs of letters have what those that begin or go on otherwise leave them."""
    scored = ("-m", genome_run, "--format", "jsonl", "--no-eos")
    totals = []
    for letters in ("ACGT", "ACGTN"):
        pairs = map("".join, itertools.product(letters, repeat=2))
        texts = [part for pair in pairs for part in ("--text", pair)]
        totals.append(sum(math.exp(record["log_prob"]) for record in records(charnn("score", *texts, *scored))))
    assert 0.5 < totals[0] < totals[1] < 1


def test_each_format_names_the_record(charnn, genome_run, sequences):
    table = charnn("score", sequences, "-m", genome_run)
    rows = table.out.splitlines()
    assert rows[1].split()[-1] == "record"
    assert [row.split()[5:] for row in rows[3:6]] == [["a", "ACGTTGACG"], ["b", "CGTCAACGT"], ["c", "GGGNA"]]
    assert "3 records, each from the initial state" in rows[-1]
    assert "P is the mean over both strands (--unit stream: the given strand)" in rows[-1]
    tsv = charnn("score", sequences, "-m", genome_run, "--format", "tsv").out.splitlines()
    assert tsv[0].startswith("record\tline\tlog_prob")
    assert [line.split("\t")[0] for line in tsv[1:]] == ["a", "b", "c"]


def test_bits_per_base_are_over_bases_alone(charnn, genome_run, sequences):
    for unit in ("line", "stream", "file"):
        charnn("score", sequences, "-m", genome_run, "--unit", unit, "--summary", "s.json", "-o", f"{unit}.txt")
        summary = json.loads(Path("s.json").read_text(encoding="utf-8"))
        assert (summary["num_bases"], summary["num_chars"]) == (23, 26)
        assert summary["bits_per_base"] == pytest.approx(-summary["nats"] / math.log(2) / 23)


def test_options_that_have_one_strand_only_are_refused(charnn, genome_run, sequences):
    for flag in (("--state", "carry"), ("--cache",), ("--no-bos",)):
        result = charnn("score", sequences, "-m", genome_run, *flag)
        assert result.status == 2
        assert f"{' '.join(flag)}: found {genome_run}, which scores both strands of each record" in result.err
    divided = charnn("score", sequences, "-m", genome_run, "--shard", "1/2", "-o", "out.tsv", "--format", "tsv")
    assert divided.status == 2
    assert "--shard, --ray: found FASTA, s.fa, which is scored in one part" in divided.err


def test_lower_case_is_read_as_in_the_training_text(charnn, genome_run):
    upper, lower = records(charnn("score", "--text", "ACGT", "--text", "acgt", "-m", genome_run, "--format", "jsonl"))
    assert (lower["log_prob"], lower["num_unknown"]) == (upper["log_prob"], 0)
    written = charnn("sample", "acgt", "-m", genome_run, "-n", 5, "--seed", 1, "--mix-ngram")
    assert written.status == 0, written.err
    assert written.out.startswith("acgt")


def test_the_n_grams_are_of_both_strands(charnn, genome_run):
    (info,) = records(charnn("info", genome_run, "--json"))
    assert info["ngram_order"] == 20
    assert info["ngram_loss_nats"] < math.log(4)


def test_other_models_have_no_bases(charnn, run):
    assert in_letters_of(charnn, run) == {}


def in_letters_of(charnn, run):
    import charnn as library

    model = library.load(run)
    assert _default_ngram_order(model.tokenizer) == 7
    return in_letters(library.api.Totals(), model.tokenizer, ScoreOptions()).to_dict()


def test_models_are_compared_on_the_given_strand(charnn, genome_run, sequences):
    result = charnn("compare", genome_run, genome_run, sequences, "--format", "json")
    assert result.status == 0, result.err
    first, second = json.loads(result.out)["models"]
    given = charnn("score", sequences, "-m", genome_run, "--per-token", "--format", "jsonl")
    total = sum(token["log_prob"] for record in records(given) for token in record["tokens"])
    assert first["nats"] == second["nats"] == pytest.approx(total)


def test_of_a_few_bases_the_interpolated_loss_stays_near_that_of_the_network(charnn, tmp_path):
    """The n-gram model is sure of the pattern, whose end it does not foresee; two held-out tokens cannot show that."""
    (tmp_path / "few.fa").write_text(">a\n" + "ACGT" * 4 + "\n", encoding="ascii")
    done = charnn("train", "few.fa", "-o", "few", *SMALL, "--steps", 2)
    assert done.status == 0, done.err
    facts = json.loads(charnn("info", "few", "--json").out)
    alone, interpolated = facts["valid_loss_nats"], facts["mixture_loss_nats"]
    assert facts["valid_num_tokens"] == 2
    assert facts["ngram_loss_nats"] > alone + 2
    assert (
        alone < interpolated < alone + 0.2 * (facts["ngram_loss_nats"] - alone)
    )  # its usual exponent, Hölder's inequality
    assert f"{interpolated:.4f} nats per token (--mix-ngram): worse than the network alone" in done.err


def test_models_that_read_fasta_otherwise_are_not_compared_on_it(charnn, genome_run, run, sequences):
    for models in ((genome_run, run), (run, genome_run)):
        result = charnn("compare", *models, sequences)
        assert result.status == 1
        assert result.err.splitlines()[-1] == (
            f"charnn: error: {run}: does not read FASTA, such as {sequences}, as {genome_run} does; score it with each "
            "model, and compare the bits per base: charnn score -m RUN FILE"
        )


def test_records_of_both_strands_are_not_said_to_be_one_text(charnn, genome_run, sequences):
    shown = charnn("score", sequences, "-m", genome_run).out
    assert "records, each from the initial state; P is the mean over both strands" in shown


@pytest.fixture(scope="module")
def keeping_run(genome_run):
    """A model of one strand of the same letters, which keeps N and lower case."""
    train = ("train", genome_run.parent / "g.fa", "-o", genome_run.parent / "keeping", "--fasta-case", "keep")
    from charnn.cli.main import main

    with pytest.raises(SystemExit) as exit_:
        main([*map(str, (*train, "--ambiguous", "keep", *SMALL))])
    assert not exit_.value.code
    return genome_run.parent / "keeping"


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_each_model_reads_the_records_that_are_compared_in_its_own_way(
    charnn, genome_run, keeping_run, sequences, unit, monkeypatch
):
    """Of GGGNNNA one model reads GGGNA."""
    for models, wanted in (((genome_run, keeping_run), [26, 28]), ((keeping_run, genome_run), [28, 26])):
        result = charnn("compare", *models, sequences, "--unit", unit, "--format", "json")
        assert result.status == 0, result.err
        found = json.loads(result.out)
        assert (found["num_lines"], [each["num_chars"] for each in found["models"]]) == (3, wanted)
        first, second = (each["bits_per_char"] for each in found["models"])
        assert found["bits_per_char_difference"] == pytest.approx(second - first)
    shown = charnn("compare", *models, sequences)
    assert "3 records, each from the initial state\n" in shown.out  # both strands cannot be carried over
    assert "tokens on which" in shown.out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b">a\nACGT\n"))))
    piped = charnn("compare", *models, "-")
    assert piped.status == 1
    assert "standard input: found FASTA, which" in piped.err


def test_prose_is_said_to_have_few_bases_and_gets_no_bits_per_base(charnn, genome_run, tmp_path):
    (tmp_path / "prose.txt").write_text("The fox slept under the hill.\n" * 3, encoding="utf-8")
    shown = charnn("score", "prose.txt", "-m", genome_run, "--summary", "s.json")
    assert shown.status == 0
    unknown = sum(letter not in "acgtn" for letter in "the fox slept under the hill.")
    wanted = f"{unknown / 30:.0%} of the letters of prose.txt are not bases that this model of DNA knows: its scores say little"
    assert wanted in shown.err
    assert "--spell" not in shown.err
    assert "bits per base" not in shown.out
    assert "bits_per_base" not in json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_rna_is_said_to_need_another_letter(charnn, genome_run, tmp_path, unit):
    (tmp_path / "rna.fa").write_text(">a\nACGUUGCA\n>b\nGGCUN\n", encoding="ascii")
    shown = charnn("score", "rna.fa", "-m", genome_run, "--unit", unit)
    notices = [line for line in shown.err.splitlines() if "is RNA" in line]
    assert notices == [
        "charnn: rna.fa: is RNA, but the model was trained on DNA, without U; write T for U, as in sed '/^>/!y/Uu/Tt/'"
    ]
    assert "is RNA" not in charnn("score", "--text", "ACGT", "-m", genome_run).err
