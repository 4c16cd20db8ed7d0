"""The page of `charnn report`: its parts, escaped, with the numbers of the commands."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import charnn as package
from charnn.analysis.overview import read_overview
from charnn.analysis.tables import Table
from charnn.config import ReportOptions
from charnn.errors import CharnnError, OptionError
from charnn.notebook import SHADES, level_of
from charnn.report.charts import chart
from charnn.report.overview import card, sections
from charnn.report.page import MAX_ROWS, render, table_markup
from charnn.report.sections import Section
from charnn.storage.model_directory import read_config, update_config

HOSTILE = "</script><script>boom()</script> <img src=x onerror=boom()> $x_1$ & \" '\n"


class Tokens(HTMLParser):
    """The tokens of a passage, and all ids and elements of a page."""

    def __init__(self, page):
        super().__init__()
        self.tokens, self.ids, self.elements = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"])
        if values.get("role") == "option":
            self.tokens.append(values)


def page_of(charnn, *arguments):
    done = charnn("report", *arguments, "-o", "page.html")
    assert done.status == 0, done.err
    assert done.err.endswith("wrote page.html; open it in a browser\n")
    return Path("page.html").read_text(encoding="utf-8")


def test_a_page_is_small_complete_and_asks_for_nothing(charnn, run):
    page = page_of(charnn, run)
    assert len(page) < 2_000_000
    parsed = Tokens(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert titles == [
        "Summary",
        "Training",
        "Samples during training",
        "A passage, token by token",
        "Where the loss is",
        "What is copied",
        "Speed and size",
    ]
    assert not re.search(r'(?:src|href|action)="(?!#|data:)', page)
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http-equiv", "")


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_surprisals_are_those_of_score_to_the_last_digit(charnn, run, line_run, unit):
    Path("text.txt").write_text("abb a\nbab\n\nab" if unit == "line" else HOSTILE * 3 + "The fox.\n", encoding="utf-8")
    model = run if unit == "stream" else line_run
    tokens = Tokens(page_of(charnn, model, "--file", "text.txt")).tokens
    scored = charnn("score", "text.txt", "-m", model, "--per-token", "--unit", unit, "--log-base", "2").out
    cells = [
        line[25:35].strip() for line in scored.splitlines() if line.strip().isascii() or line[:6].strip().isdigit()
    ]
    expected = [f"{-float(cell) + 0.0:.4f}" for cell in cells if re.fullmatch(r"-?\d+\.\d{4}", cell)]
    assert len(expected) == len(tokens) > 10
    assert [token["data-bits"] for token in tokens] == expected
    records = charnn(
        "score", "text.txt", "-m", model, "--per-token", "--alternatives", 5, "--unit", unit, "--format", "jsonl"
    ).out
    of_units = [token for record in map(json.loads, records.splitlines()) for token in record["tokens"]]
    shown = [[name for name, _ in json.loads(token["data-next"])] for token in tokens]
    assert shown == [[package.api.visible(each["token"]) for each in token["alternatives"]] for token in of_units]


def test_hostile_text_and_names_are_shown_and_not_run(charnn, run):
    Path("text.txt").write_text(HOSTILE * 20, encoding="utf-8")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        if record["event"] == "evaluated":
            record["sample"] = HOSTILE
    (run / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    hostile = run.rename(run.parent / "<img src=x onerror=boom()>$a$")
    parsed = Tokens(page := page_of(charnn, hostile, "--file", "text.txt"))
    assert parsed.elements.count("script") == 1
    assert "img" not in parsed.elements
    assert "boom()&lt;/script&gt;" in page
    names = [token["data-name"].removesuffix(", unknown, read as <unk>") for token in parsed.tokens]
    assert "".join(names).startswith("</script><script>boom()")
    assert parsed.tokens[0]["data-name"] == "<, unknown, read as <unk>"


def test_a_slim_run_has_a_report_without_what_needs_its_text(charnn, run):
    for name in ("train.bin", "valid.bin"):
        (run / name).unlink()
    assert charnn("report", run, "-o", "slim.html").status == 0
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", Path("slim.html").read_text(encoding="utf-8"))
    assert titles == ["Summary", "Training", "Samples during training", "Speed and size"]


def test_bytes_that_are_no_utf8_are_shown_as_such():
    page = render("\udcc3", [Section("s", [Table("t", "many", ("n",), [("a\udcff",)])])])
    page.encode()
    assert "<h1>\ufffd</h1>" in page
    assert "a\ufffd" in page


def test_a_long_table_says_how_many_rows_it_leaves_out():
    table = Table("t", "many", ("n",), [(number,) for number in range(MAX_ROWS + 5)])
    assert "5 more rows; charnn inspect --format jsonl prints all." in table_markup(table)
    assert "5 more rows." in render("x", [Section("s", [table])], where_all="")


def test_several_runs_stand_side_by_side(charnn, run, line_run):
    page = page_of(charnn, run, line_run)
    assert "Where the runs differ" in page
    assert "may have seen it" in page
    assert page.count('<div class="passage">') == 2
    assert "Options in which the runs differ" in page


def test_runs_without_stored_samples_have_no_slider(charnn, run):
    (run / "metrics.jsonl").unlink()
    page = page_of(charnn, run)
    assert 'type="range"' not in page
    assert "Samples during training" not in page
    assert ">Training<" not in page


def test_a_card_says_what_the_model_is(run):
    config = read_config(run)
    config.results.valid_loss_nats, config.results.valid_margin_nats = 1.5, 0.25
    update_config(run, config, generation=read_generation(run))
    (read,) = read_overview([run], ReportOptions()).runs
    learned, quality = card(read)
    num_units = read.model.architecture.hidden_size
    assert f"is a recurrent network (lstm, 1 layer of {num_units} units, {read.num_parameters:,} parameters)" in learned
    assert "predicts characters, of which its vocabulary has" in learned
    assert "its loss is 1.5000 ± 0.2500 nats per token: 2.164 bits per character, perplexity 4.482." in quality
    assert f"perplexity of chance {read.model.architecture.vocab_size}, unigram " in quality


def read_generation(run):
    return json.loads((run / "config.json").read_text(encoding="utf-8"))["generation"]


def test_figures_of_pictures_are_the_arrays(run):
    (read,) = (overview := read_overview([run], ReportOptions())).runs
    training = next(section for section in sections(overview) if section.title == "Training")
    by_step, by_time, rate, norm = training.parts[0].pictures
    curves = read.curves
    assert [row[2] for row in by_step.table.rows if row[1] == "training"] == curves.step.tolist()
    assert [row[3] for row in by_time.table.rows if row[1] == "training"] == curves.loss_nats.tolist()
    assert [row[3] for row in by_time.table.rows if row[1] == "validation"] == [
        each.loss_nats for each in curves.evaluations
    ]
    assert [row[2] for row in rate.table.rows] == curves.learning_rate.tolist()
    assert [row[2] for row in norm.table.rows] == curves.gradient_norm.tolist()


def test_numbers_in_labels_of_a_chart_are_not_rounded():
    with chart("rates") as drawn:
        drawn.ax.plot([0, 1], [0.005, 0.015])
        drawn.ax.set_yticks([0.005, 0.015], ["0.005", "0.0150 <b>"])
    assert ">0.005<" in drawn.svg
    assert ">0.0150 &lt;b&gt;<" in drawn.svg


def test_the_shades_are_those_of_notebooks(charnn, run):
    page = page_of(charnn, run)
    html = package.load(run).score("The fox\u2028")._repr_html_()
    for token in package.load(run).score("The fox").tokens:
        shade = SHADES[level_of(token.surprisal_bits)]
        assert f"background:{shade.light}" in html
        assert f"--s{SHADES.index(shade)}: {shade.light};" in page
        assert f"--s{SHADES.index(shade)}: {shade.dark};" in page
    assert [level_of(bits) for bits in (0, 0.49, 0.5, 3.9, 7, 99)] == [0, 0, 1, 3, 5, 5]


def test_a_report_from_python_is_the_commands(charnn, run, tmp_path):
    page = page_of(charnn, run, "--passage", 9)
    target = package.write_report(package.load(run), output=tmp_path / "mine.html", passage=9)
    assert target == tmp_path / "mine.html"
    assert target.read_text(encoding="utf-8") == page
    assert package.write_report(run, passage=9) == Path("small-report.html")
    assert Path("small-report.html").read_text(encoding="utf-8") == page
    assert len(Tokens(page).tokens) == 9


def test_wrong_targets_and_options_are_refused_before_any_work(charnn, run, monkeypatch):
    before = (run / "config.json").read_bytes()
    refused = charnn("report", run, "-o", run / "config.json")
    assert refused.status == 2
    assert "which belongs to a model; name another file" in refused.err
    assert charnn("report", run, "-o", "-").err.strip().endswith("a report is written to a file; name one")
    assert "--passage" in charnn("report", run, "--passage", 0).err
    with pytest.raises(OptionError, match=r"output: found .*config\.json, which belongs to a model"):
        package.write_report(run, output=run / "config.json")
    with pytest.raises(OptionError, match="passage"):
        package.write_report(run, passage=0)
    with pytest.raises(OptionError, match="models: found 3"):
        package.write_report(3)
    monkeypatch.setattr("charnn.report.libraries.LIBRARIES", ("a_library_that_is_not_there",))
    assert "report: a_library_that_is_not_there is not installed" in charnn("report", "nowhere").err
    with pytest.raises(CharnnError, match="a_library_that_is_not_there is not installed"):
        package.write_report(run)
    assert (run / "config.json").read_bytes() == before
