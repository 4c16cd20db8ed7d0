"""Every command with a model of numbers: it works, or refuses in one line."""

import csv
import io
import json
import shlex
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import charnn as api
from charnn.analysis.surprisals import beginning, text_to_read
from charnn.cli.output.fan import fan_chart, shown
from charnn.cli.output.fan_svg import fan_svg
from charnn.errors import UnknownTokenError
from charnn.inference.prompt import encode_prompt
from charnn.text.bins import UNKNOWN_ID, train_bins
from tests.conftest import REPOSITORY

SMALL = ["--hidden-size", "8", "--batch-size", "4", "--bptt", "16", "--precision", "fp32", "--steps", "20"]


def write_table(path):
    rows = [f"day {number},{10 + number % 7}.{number % 10},x" for number in range(400)]
    rows[30] = "day 30,,x"
    path.write_text("\n".join(["day,degrees,note", *rows]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def _trained_numbers(tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "series"


@pytest.fixture
def series(charnn, _trained_numbers, tmp_path, monkeypatch):
    """A model in runs/series of the table t.csv, in the current directory."""
    monkeypatch.chdir(tmp_path)
    write_table(Path("t.csv"))
    if not _trained_numbers.exists():
        result = charnn(
            "train", "t.csv", "--tokenizer", "bins", "--column", "degrees", "-o", _trained_numbers, "--seed", 1, *SMALL
        )
        assert result.status == 0
        assert "bits/value" in result.err
    shutil.copytree(_trained_numbers, "runs/series")
    return Path("runs/series")


def test_it_is_described_in_bits_per_value(charnn, series):
    facts = json.loads(charnn("info", series, "--json").out)
    assert (facts["tokenizer"], facts["valid_bits_per_char"]) == ("bins", None)
    assert facts["valid_bits_per_value"] == pytest.approx(facts["valid_loss_nats"] / 0.6931471805599453)


def test_each_row_of_a_table_has_the_surprisal_of_its_value_and_keeps_its_other_columns(charnn, series):
    result = charnn(
        "score", "t.csv", "-m", series, "--column", "degrees", "--per-token", "--format", "tsv", "--log-base", 2
    )
    rows = list(csv.DictReader(io.StringIO(result.out), delimiter="\t"))
    assert [row["day"] for row in rows] == [f"day {number}" for number in range(400)]
    assert (rows[30]["token"], rows[30]["unknown"], rows[31]["token"]) == ("<unk>", "1", "13.1")
    assert all(float(row["log_prob"]) < 0 for row in rows)
    assert result.err.splitlines()[-2].startswith("charnn: 400 values (1 missing): ")
    assert result.err.splitlines()[-1] == "charnn: one series, hidden state carried from value to value"


def test_the_summary_has_no_characters(charnn, series):
    charnn("score", "t.csv", "-m", series, "--column", "degrees", "--summary", "s.json")
    summary = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert (summary["num_tokens"], summary["num_chars"], summary["bits_per_char"]) == (400, 0, None)
    assert summary["protocol"] == "--unit stream"


def test_many_missing_values_are_called_so(charnn, series):
    Path("gaps.csv").write_text("day,degrees\n1,\n2,12.1\n", encoding="utf-8")
    result = charnn("score", "gaps.csv", "-m", series, "--column", "degrees", "--format", "tsv")
    assert (
        "charnn: 50% of the values of this text are missing, each a cheap token of its own: bits per value count them, too"
        in result.err.splitlines()
    )


@pytest.mark.parametrize("format", ["tsv", "jsonl"])
def test_a_forecast_is_a_table_of_quantiles(charnn, series, format):
    result = charnn("sample", "-m", series, "--forecast", "-n", 4, "--num-samples", 20, "--seed", 1, "--format", format)
    lines = result.out.splitlines()
    rows = list(map(json.loads, lines)) if format == "jsonl" else list(csv.DictReader(lines, delimiter="\t"))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert list(rows[0]) == ["step", "q5", "q25", "q50", "q75", "q95"]
    assert result.err == "charnn: continuing the series that runs/series was trained on, after its last value\n"


def test_a_prompt_file_is_read_by_the_column_of_training(charnn, series):
    options = ["-m", series, "--forecast", "-n", 2, "--num-samples", 5, "--seed", 1, "--format", "tsv"]
    header, *rows = Path("t.csv").read_text(encoding="utf-8").splitlines()
    Path("last.csv").write_text("\n".join([header, *rows[40:60]]) + "\n", encoding="utf-8")
    Path("last.txt").write_text(" ".join(row.split(",")[1] for row in rows[40:60]), encoding="utf-8")
    Path("other.csv").write_text("\n".join(["day,T,note", *rows[40:60]]) + "\n", encoding="utf-8")
    found = charnn("sample", "--prompt-file", "last.csv", *options).out
    assert found == charnn("sample", "--prompt-file", "last.txt", *options).out
    assert found == charnn("sample", "--prompt-file", "other.csv", "--column", "T", *options).out
    assert found == charnn("sample", Path("last.txt").read_text(encoding="utf-8"), *options).out


def test_an_empty_cell_of_a_prompt_file_is_a_missing_value_as_in_training(charnn, series):
    options = ["-m", series, "--forecast", "-n", 2, "--num-samples", 5, "--seed", 1, "--format", "tsv"]
    Path("last.csv").write_text("day,degrees\n1,12.1\n2,\n3,13.2\n4,10.3\n", encoding="utf-8")
    found = charnn("sample", "--prompt-file", "last.csv", *options)
    assert found.status == 0, found.err
    assert found.out == charnn("sample", "12.1 <unk> 13.2 10.3", *options, "--on-unknown", "unk").out
    values = api.load(series).forecast([12.1, float("nan"), 13.2, 10.3], steps=2, num_samples=5, seed=1)
    medians = [float(row["q50"]) for row in csv.DictReader(found.out.splitlines(), delimiter="\t")]
    assert medians == [row["q50"] for row in values.rows()]
    Path("none.csv").write_text("day,degrees\n1,\n2,\n", encoding="utf-8")
    assert "none.csv: contains no number to continue; " in charnn("sample", "--prompt-file", "none.csv", *options).err


def test_a_missing_value_is_named_where_the_model_never_saw_one():
    tokenizer = train_bins(["1 2 3"], "stream", size=None)
    with pytest.raises(UnknownTokenError, match=r"^p: value 2 of 3 is missing, but none was in the series from "):
        encode_prompt(tokenizer, "1 <unk> 3", on_unknown="error", name="p")
    assert len(encode_prompt(tokenizer, "1 <unk> 3", on_unknown="skip")) == 2


def test_a_forecast_on_a_terminal_is_drawn_and_stays_within_its_width(charnn, series, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = charnn("sample", "-m", series, "--forecast", "--num-samples", 20, "--seed", 1, "--svg", "f.svg")
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("•" in line and "━" in line for line in lines)
    assert lines[20].split() == ["step", "5", "%", "25", "%", "50", "%", "75", "%", "95", "%"]
    assert len(lines) == 21 + 30
    assert ET.parse("f.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("score t.csv -m runs/series --column nothing", 1, "t.csv:1: found the columns day, degrees, note, but no nothing; "),
        ("score t.csv -m runs/series --column note", 1, "t.csv:2: in note, found 'x', which is not a finite number; "),
        ("score two.csv -m runs/series --column degrees", 1, "two.csv:2: in degrees, found 2 numbers, '1 234', but a row of a s"),
        ("sample --prompt-file two.csv -m runs/series --forecast", 1, "two.csv:2: in degrees, found 2 numbers, '1 234', "),
        ("sample -m runs/series --forecast -t 0", 2, "--temperature 0: cannot be combined with --forecast; "),
        ("score t.csv -m runs/series", 1, "t.csv:1: found 'day,degrees,note', which is not a finite number; "),
        ("score --text 12,5 -m runs/series", 1, "found '12,5', which is not a number; write a point before the decimals"),
        ("score t.csv -m runs/series --column degrees --by-word", 2, "--by-word: found runs/series, a model of numbers, "),
        ("score t.csv -m runs/series -o o --shard 1/2 --column degrees", 2, "--shard and --ray: found runs/series, a model of n"),
        ("sample nan -m runs/series", 1, "found 'nan', which is not a finite number; "),
        ("sample --prompt-file bad.csv -m runs/series --forecast", 1, "bad.csv:3: in degrees, found 'n/a', which is not a "),
        ("sample --prompt-file open.csv -m runs/series --forecast", 1, "open.csv:2: found a quoted cell that is not closed; "),
        ("sample -m runs/series --match [0-9]", 2, "--match: found runs/series, a model of numbers, which have no characters; "),
        ("sample -m runs/series --stop 1", 2, "--stop: found runs/series, a model of numbers, which have no characters; "),
        ("sample -m runs/series --until line", 2, "--until line: found runs/series, a model of numbers, "),
        ("sample -m runs/series --forecast --greedy", 2, "--greedy"),
        ("sample -m runs/series --forecast --beam 2", 2, "--beam"),
        ("sample -m runs/series --svg f.svg", 2, "--svg"),
        ("sample -m runs/series --forecast --svg f.png", 2, "--svg: found f.png, but the picture is SVG"),
        ("sample -m runs/series --format tsv", 2, "--format tsv"),
        ("sample -m runs/series --column degrees", 2, "--column"),
        ("train t.csv --tokenizer bins --column degrees --column day", 2, "--column: found degrees and day, but one column is read; "),
        ("sample --forecast --prompt-file t.csv --column=degrees --column day", 2, "--column: found degrees and day, but one col"),
        ("compare runs/series runs/series t.csv", 1, "runs/series: is a model of numbers, but a comparison is in bits per char"),
        ("predict 12. -m runs/series --complete", 1, "runs/series: is a model of numbers, which have no words to complete; "),
        ("export runs/series --to hf", 1, "runs/series: is a model of numbers, which --to hf cannot read, as it is for text; "),
        ("export runs/series --to html", 1, "runs/series: is a model of numbers, which --to html cannot read, "),
        ("train t.csv --init-from runs/series --column degrees --extend-vocab --steps 2", 2, "--extend-vocab: the bins of"),
    ],
)  # fmt: skip
def test_what_means_nothing_for_numbers_is_refused_in_one_line(charnn, series, command, status, message):
    Path("two.csv").write_text("day,degrees\n1,1 234\n", encoding="utf-8")
    Path("bad.csv").write_text("day,degrees\n1,2\n2,n/a\n", encoding="utf-8")
    Path("open.csv").write_text('day,degrees\n1,"2\n2,3\n', encoding="utf-8")
    result = charnn(*command.split())
    assert result.status == status, result.err
    error = result.err.splitlines()[-1]
    assert error.startswith("charnn: error: ")
    assert message in error


@pytest.mark.parametrize(
    "command",
    [
        "predict 12.1 -m runs/series",
        "tokenize 12.1 -m runs/series",
        "fill '12.1 ____ 12.9' -m runs/series --beam 3",
        "sample 12.1 -m runs/series -n 5 --seed 1 --show-alternatives 2",
        "sample 12.1 -m runs/series -n 5 --beam 2",
        "sample 12.1 -m runs/series -n 5 --seed 1 --mix-ngram --top-p 0.9",
        "score t.csv -m runs/series --column degrees --cache --cache-weight 0.1 --cache-sharpness 1",
        "inspect unrolled runs/series",
        "train t.csv --init-from runs/series --column degrees -o more --steps 2 --batch-size 4 --bptt 16 --precision fp32",
    ],
)
def test_what_works_for_tokens_of_any_kind_works_for_numbers(charnn, series, command):
    result = charnn(*shlex.split(command))
    assert result.status == 0, result.err


def test_a_model_of_text_forecasts_nothing(charnn, run):
    result = charnn("sample", "-m", run, "--forecast")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "is a model of text, but --forecast needs one of numbers (--tokenizer bins)" in result.err


def test_the_temperatures_are_those_that_the_script_writes(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "corpora"))
    from make_temperatures import rows

    with (REPOSITORY / "corpora" / "temperatures.csv").open(encoding="utf-8", newline="") as file:
        header, *stored = csv.reader(file)
    assert header == ["date", "temperature"]
    assert list(map(tuple, stored)) == rows()


def test_a_fan_chart_has_the_values_in_their_places():
    lines = fan_chart([0.0, 10.0], [[2.0, 4.0, 5.0, 6.0, 8.0]] * 2, decimals=0, width=30, height=11)
    columns = list(zip(*(line[9:].ljust(12) for line in lines[:11]), strict=True))
    assert [lines[row][:9].strip() for row in (0, 5, 10)] == ["10 ┤", "5 ┤", "0 ┤"]
    assert [("".join(column)).index("•") for column in columns if "•" in column] == [10, 0]
    band = "".join(columns[-1])
    assert band == "  ░░▒━▒░░  "


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (12.34, 1, "12.3"),
        (-1.2345e-6, 9, "-1e-06"),
        (1234567.8, 1, "1234568"),
        (-1234567.8, 1, "-1e+06"),
        (101325.3, 1, "101325"),
    ],
)
def test_a_label_fits_into_its_width(value, decimals, expected):
    assert shown(value, decimals, 7) == expected


@pytest.mark.parametrize(
    ("history", "quantiles"),
    [([], [[1.0] * 5]), ([float("nan")], [[0.0] * 5] * 400), ([1e9] * 600, [[-1.0, 0.0, 0.5, 1.0, 2.0]] * 3)],
)
def test_charts_of_any_series_can_be_drawn(history, quantiles):
    lines = fan_chart(history, quantiles, decimals=1, width=60, height=8)
    assert len(lines) == 11
    assert max(map(len, lines[:10])) <= 60
    assert "nan" not in ET.tostring(ET.fromstring(fan_svg(history, quantiles, decimals=1)), encoding="unicode")


def test_series_with_labels_are_forecast_and_classified(charnn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{'ab'[number % 2]},{' '.join([str(10 + 20 * (number % 2) + number % 3)] * 8)}" for number in range(200)]
    Path("stations.csv").write_text("\n".join(["station,values", *rows]) + "\n", encoding="utf-8")
    options = ("--column", "values", "--unit", "line", "--label-from", "station", *SMALL[:-1], 150)
    result = charnn("train", "stations.csv", "--tokenizer", "bins", "-o", "runs/s", "--learning-rate", 0.02, *options)
    assert result.status == 0
    for label, low, high in (("a", 10, 12), ("b", 30, 32)):
        forecast = charnn(
            "sample",
            "<unk>",
            "--on-unknown",
            "unk",
            "--label",
            label,
            "--forecast",
            "-n",
            2,
            "--format",
            "jsonl",
            "-m",
            "runs/s",
        )
        assert low <= json.loads(forecast.out.splitlines()[0])["q50"] <= high
        values = api.load("runs/s").forecast([float("nan")], steps=2, num_samples=50, seed=1, label=label)
        assert low <= values.quantiles[0, 2] <= high
    table = charnn("classify", "31 31 31 31", "-m", "runs/s").out
    assert table.index(" b ") < table.index(" a ")


def test_a_report_shows_held_out_text_with_a_gap(charnn, series, tmp_path):
    rows = [f"{number},{'' if number % 50 == 9 else 10 + number % 7}" for number in range(500)]
    Path("gaps.csv").write_text("\n".join(["day,degrees", *rows]) + "\n", encoding="utf-8")
    arguments = ("--tokenizer", "bins", "--column", "degrees", "-o", "runs/gaps", "--seed", 1, *SMALL)
    assert charnn("train", "gaps.csv", *arguments).status == 0
    result = charnn("report", "runs/gaps", "-o", "gaps.html")
    assert result.status == 0, result.err
    held_out = np.fromfile("runs/gaps/valid.bin", dtype=np.uint8)
    model = api.load("runs/gaps").models[0]
    assert np.count_nonzero(held_out == UNKNOWN_ID) == 1
    assert model.tokenizer.encode(text_to_read(model, None, max_tokens=len(held_out))).tolist() == held_out.tolist()
    assert "<unk>" in beginning("12 <unk> 13 " * 50, model.tokenizer, 20)
