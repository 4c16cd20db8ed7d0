import io
import json
from pathlib import Path

import numpy as np
import pytest

from charnn.ngrams.mixture import linear_weights
from charnn.storage.labels import with_label
from charnn.storage.mixture import read_mixture
from charnn.storage.model_directory import read_model
from tests.conftest import VOICES


class Terminal(io.StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


def records(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def test_samples_and_scores_have_a_label(charnn, voices_run):
    for label, text in (("ANN", "is the kettle on"), ("BEN", "never mind the boat")):
        result = charnn("sample", "-m", voices_run, "--label", label, "--greedy", "--until", "unit")
        assert result.status == 0
        assert result.out.startswith(text)
    by_label = {}
    for label in ("ANN", "BEN", None):
        given = ("--label", label) if label else ()
        result = charnn("score", "-m", voices_run, "--text", "is the kettle on", "--format", "jsonl", *given)
        by_label[label] = records(result.out)[0]["log_prob"]
    assert by_label["ANN"] > by_label[None] > by_label["BEN"]
    first = {
        label: records(charnn("predict", "", "-m", voices_run, "--label", label, "--format", "jsonl").out)[0]["token"]
        for label in ("ANN", "BEN")
    }
    assert first == {"ANN": "i", "BEN": "n"}


def test_a_mixture_with_a_label_has_the_n_grams_of_the_label(charnn, voices_run):
    config = json.loads((voices_run / "config.json").read_text(encoding="utf-8"))
    weights = config["results"]["label_mixture_weights"]
    assert all(0 < share < 1 for each in weights for share in each[2:])
    config["results"]["label_mixture_weights"] = linear_weights([0.5] * len(weights))
    config["mixture_weights"] = linear_weights([0.7] * len(config["mixture_weights"]))
    (voices_run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = read_model(voices_run)
    first = {}
    for label in ("ANN", "BEN", None):
        given = ("--label", label) if label else ()
        arguments = ("predict", "", "-m", voices_run, "--top", 0, "--format", "jsonl", *given)
        alone = {each["token"]: each["prob"] for each in records(charnn(*arguments).out)}
        found = records(charnn(*arguments, "--mix-ngram").out)
        assert sum(each["prob"] for each in found) == pytest.approx(1, abs=1e-5)
        mixture = read_mixture(with_label(model, label))
        boundary = [model.tokenizer.vocabulary.boundary_id]
        common = mixture if label is None else mixture.inner
        expected = {}
        for each in found:
            probs, _ = common.ngrams.distribution(boundary)
            expected[each["token"]] = 0.7 * alone[each["token"]] + 0.3 * probs[each["id"]]
            if label is not None:
                own = mixture.ngrams.distribution(boundary)[0][each["id"]]
                expected[each["token"]] = 0.5 * expected[each["token"]] + 0.5 * own
        assert {each["token"]: each["prob"] for each in found} == pytest.approx(expected, abs=1e-5)
        first[label] = max(found, key=lambda each: each["prob"])["token"]
    assert (first["ANN"], first["BEN"]) == ("i", "n")


def test_scores_samples_and_predictions_mix_the_same(charnn, voices_run):
    how = ("--label", "BEN", "--mix-ngram", "--greedy", "-n", 12, "--format", "jsonl")
    result = charnn("sample", "-m", voices_run, *how)
    (sample,) = records(result.out)
    assert sample["label"] == "BEN"
    arguments = ("score", "-m", voices_run, "--text", sample["text"], "--no-eos", "--label", "BEN", "--mix-ngram")
    for further in ((), ("--per-token", "--alternatives", 2)):  # which computes whole distributions
        scored = charnn(*arguments, "--format", "jsonl", *further)
        assert scored.status == 0, scored.err
        (score,) = records(scored.out)
        assert score["log_prob"] == pytest.approx(sample["log_prob"], abs=1e-4)


@pytest.mark.parametrize("mix", [(), ("--mix-ngram",)], ids=["network", "mixture"])
def test_the_strength_of_a_label_is_a_power_of_the_ratio_of_n_grams(charnn, voices_run, mix):
    how = ("-m", voices_run, "--label", "BEN", *mix)
    plain = {
        each["id"]: each["prob"] for each in records(charnn("predict", "", *how, "--top", 0, "--format", "jsonl").out)
    }
    how = (*how, "-n", 1, "--greedy", "--format", "jsonl", "--show-alternatives", 3)
    (sample,) = records(charnn("sample", *how, "--label-strength", 0.5).out)
    model = with_label(read_model(voices_run), "BEN")
    mixture, boundary = read_mixture(model), [model.tokenizer.vocabulary.boundary_id]
    own, common = (each.ngrams.distribution(boundary)[0] for each in (mixture, mixture.inner))
    expected = np.array([plain[id] for id in range(len(own))]) * (own / common) ** 0.5
    expected /= expected.sum()
    assert sample["log_prob"] == pytest.approx(np.log(expected.max()), abs=1e-4)
    assert sample["ids"] == [expected.argmax()]
    (unchanged,) = records(charnn("sample", *how).out)
    assert unchanged["log_prob"] == pytest.approx(np.log(max(plain.values())), abs=1e-4)


def test_missing_n_grams_of_a_label_are_named(charnn, voices_run):
    (voices_run / "labels.safetensors").unlink()
    result = charnn("sample", "-m", voices_run, "--label", "BEN", "--mix-ngram")
    assert result.err.splitlines()[-1] == (
        f"charnn: error: {voices_run / 'labels.safetensors'}: the n-gram models of the labels are missing; restore them, "
        "or train again"
    )


def test_a_table_is_scored_with_the_label_of_each_row(charnn, voices_run):
    rows = [("BEN", "hm"), ("ANN", "is the kettle on"), ("BEN", "is the kettle on")]
    Path("said.csv").write_text("who,text\n" + "".join(f"{who},{text}\n" for who, text in rows), encoding="utf-8")
    arguments = ("score", "-m", voices_run, "said.csv", "--column", "text", "--format", "jsonl")
    found = records(charnn(*arguments, "--label-from", "who").out)
    assert [(each["row"], each["who"]) for each in found] == [(1, "BEN"), (2, "ANN"), (3, "BEN")]
    for each, (who, text) in zip(found, rows, strict=True):
        alone = records(charnn("score", "-m", voices_run, "--text", text, "--label", who, "--format", "jsonl").out)
        assert each["log_prob"] == pytest.approx(alone[0]["log_prob"], abs=1e-5)


def test_files_are_scored_with_their_names_as_labels(charnn, voices_run):
    Path("ANN.txt").write_text("is the kettle on\nhm\n", encoding="utf-8")
    Path("CYD.txt").write_text("hm\n", encoding="utf-8")
    result = charnn("score", "-m", voices_run, "ANN.txt", "CYD.txt", "--label-from", "file", "--format", "jsonl")
    assert result.status == 0, result.err
    _, by_ann, by_cyd = records(result.out)
    assert (by_ann["file"], by_cyd["file"]) == ("ANN.txt", "CYD.txt")
    assert by_cyd["log_prob"] > by_ann["log_prob"]


def test_the_held_out_loss_is_that_of_a_score_with_labels(charnn):
    Path("valid.csv").write_text("who,text\nANN,is the kettle on\nBEN,never mind the boat 2\n", encoding="utf-8")
    Path("said.csv").write_text(VOICES, encoding="utf-8")
    arguments = ("train", "said.csv", "--column", "text", "--label-from", "who")
    result = charnn(*arguments, "--unit", "line", "--valid", "valid.csv", "-o", "new", "--steps", 5, "--hidden-size", 8)
    assert result.status == 0, result.err
    loss = json.loads(charnn("info", "new", "--json").out)["valid_loss_nats"]
    scored = charnn("score", "-m", "new", "valid.csv", "--column", "text", "--label-from", "who", "--format", "jsonl")
    totals = records(scored.out)
    nats = -sum(each["log_prob"] for each in totals) / sum(each["num_tokens"] for each in totals)
    assert nats == pytest.approx(loss, abs=1e-4)


def test_classify_shows_a_table_of_one_text(charnn, voices_run):
    result = charnn("classify", "hm", "-m", voices_run, "--top", 2)
    assert result.status == 0, result.err
    rows = [line.split() for line in result.out.splitlines() if line.strip() and "─" not in line]
    assert rows[1][0] == "CYD"
    assert float(rows[1][1]) > 0.5
    assert rows[-1][:3] == ["remaining", "1", "label:"]


def test_control_characters_of_a_text_do_not_reach_the_terminal(charnn, voices_run):
    Path("said.txt").write_text("hm\x1b[31m\n", encoding="utf-8")
    shown = charnn("classify", "--file", "said.txt", "-m", voices_run).out
    assert "hm·[31m" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_classify_reads_several_texts(charnn, voices_run, monkeypatch, source):
    text = "hm\n\nnever mind the boat 3\n"
    Path("said.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    given = ("--file", "said.txt") if source == "file" else ()
    found = records(charnn("classify", "-m", voices_run, "--format", "jsonl", *given).out)
    assert [(each["number"], each["text"], each["label"]) for each in found] == [
        (1, "hm", "CYD"),
        (2, "never mind the boat 3", "BEN"),
    ]
    if source == "file":
        lines = charnn("classify", "-m", voices_run, "--format", "tsv", "--top", 0, *given).out.splitlines()
        assert lines[0] == "number\tlabel\tprob\ttext"
        assert len(lines) == 1 + 2 * 3
        assert sum(float(line.split("\t")[2]) for line in lines[1:4]) == pytest.approx(1, abs=1e-6)
        shown = charnn("classify", "-m", voices_run, *given).out
        assert "CYD" in shown
        assert "never mind the boat 3" in shown


def test_info_names_the_labels_and_the_accuracy(charnn, voices_run, run):
    facts = json.loads(charnn("info", voices_run, "--json").out)
    assert list(facts["labels"]) == ["BEN", "ANN", "CYD"] or list(facts["labels"]) == ["ANN", "BEN", "CYD"]
    assert 0 < facts["label_majority"] < facts["label_accuracy"] <= 1
    assert facts["label_mixture_loss_nats"] > 0
    shown = charnn("info", voices_run).out
    assert f"{facts['label_accuracy']:.1%} of {facts['label_num_units']} held-out units" in " ".join(shown.split())
    assert "accuracy of labels" not in charnn("info", run).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("sample", "-m", "RUN", "--label", "ben"),
            "--label: found 'ben', which is no label of {run} ({labels}); did you mean 'BEN'?",
        ),
        (
            ("score", "-m", "RUN", "--text", "a", "--label", "Zoe"),
            "--label: found 'Zoe', which is no label of {run} ({labels}); charnn info --json lists them",
        ),
        (
            ("sample", "-m", "OTHER", "--label", "BEN"),
            "--label: {other} was trained without labels; leave it out, or train with --label-from",
        ),
        (
            ("classify", "a", "-m", "OTHER"),
            "-m: {other} was trained without labels; leave it out, or train with --label-from",
        ),
        (
            ("sample", "-m", "RUN", "--label-strength", "0.5"),
            "--label-strength: has no effect without --label; add that or leave this out",
        ),
        (("classify", "a", "--file", "b"), "--file: cannot be combined with a TEXT; leave one out"),
        (
            ("score", "-m", "RUN", "rows.csv", "--column", "text", "--label-from", "hwo"),
            "rows.csv:1: found no column hwo with --label-from beside the scored one; name one of: who",
        ),
        (
            ("score", "-m", "RUN", "rows.csv", "--column", "text", "--label-from", "who"),
            "rows.csv:3: found no label in who; fill it in, or remove the row",
        ),
        (
            ("score", "-m", "RUN", "rows.csv", "--label-from", "who"),
            "--label-from who: has no effect without --column, the column of the text; add that or leave this out",
        ),
        (
            ("score", "-m", "RUN", "--text", "a", "--label-from", "file"),
            "--text: cannot be combined with --label-from; name its label with --label; leave one out",
        ),
        (
            ("score", "-m", "RUN", "rows.csv", "--label", "BEN", "--label-from", "file"),
            "--label: cannot be combined with --label-from; leave one out",
        ),
        (
            ("predict", "a ____", "-m", "RUN", "--label", "BEN"),
            "--label: cannot be combined with a gap (____) in TEXT; leave one out",
        ),
        (
            ("train", "rows.csv", "--column", "text", "--label-from", "who", "--unit", "line", "--tie-weights"),
            "--label-from: cannot be combined with --tie-weights; leave one out",
        ),
        (
            ("train", "rows.csv", "--column", "text", "--label-from", "who", "--unit", "line", "--direction", "both"),
            "--label-from: cannot be combined with --direction both; leave one out",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_gets_one_line(charnn, voices_run, run, arguments, message):
    Path("rows.csv").write_text("who,text\nBEN,hm\n,hm\n", encoding="utf-8")
    labels = ", ".join(json.loads(charnn("info", voices_run, "--json").out)["labels"])
    result = charnn(*({"RUN": voices_run, "OTHER": run}.get(word, word) for word in arguments))
    expected = message.format(run=voices_run, other=run, labels=labels)
    assert result.status in (1, 2)
    assert result.err.splitlines()[-1] == f"charnn: error: {expected}"


def test_nothing_to_classify_is_an_error(charnn, voices_run, monkeypatch):
    Path("empty.txt").write_text("\n", encoding="utf-8")
    result = charnn("classify", "-m", voices_run, "--file", "empty.txt")
    assert (result.status, result.err.splitlines()[-1]) == (
        1,
        "charnn: error: empty.txt: is empty; there is nothing to classify",
    )
    monkeypatch.setattr("sys.stdin", Terminal())
    result = charnn("classify", "-m", voices_run)
    assert result.err.splitlines()[-1] == (
        "charnn: error: TEXT: found none; name a text to classify, or a file with --file"
    )


def test_a_model_is_exported_without_labels_or_as_one_of_them(charnn, voices_run, monkeypatch):
    exported = []
    monkeypatch.setattr("charnn.export.html.write", lambda model, *_, **__: exported.append(model))
    for given in ((), ("--label", "BEN")):
        result = charnn("export", voices_run, "--to", "html", *given, "-o", "page.html")
        assert result.status == 0, result.err
    assert all(model.architecture.num_labels == 0 for model in exported)
    assert all("labels.weight" not in model.weights for model in exported)
    plain, ben = (model.weights["embedding.weight"] for model in exported)
    assert (plain != ben).any()
