"""The page of a model: what it is made of, without a browser. See tests/clients/test_html_page.py for what it does."""

import base64
import hashlib
import json
import math
import re
import shutil
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import regex
import sentencepiece

import charnn.api
from charnn.config import ExportOptions, TextOptions
from charnn.errors import ModelError, UnusedOptionError
from charnn.export import html
from charnn.export.html import as_data, page_of
from charnn.export.html_tokenizer import described_tokenizer
from charnn.export.html_weights import dequantized, quantized
from charnn.storage.model_directory import read_model, write_model
from charnn.text.tokenizers import CharTokenizer, WordTokenizer
from charnn.text.vocabulary import Vocabulary
from charnn.text.words import EXTEND, LATEST
from tests.conftest import REPOSITORY, ramp_weights, trained_tokenizer
from tests.export.models import model_of, untrained_model

TEXT = "The fox said: no.\n" * 20
MEBIBYTE = 1 << 20


class Page(HTMLParser):
    """A page as a browser takes it apart: its elements, and what stands in those with raw text."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.visible = ""
        self.feed(content.decode("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag in ("script", "style") and data.strip():
            self.texts.append((attributes.get("id") or tag, data))
        else:
            self.visible += data

    def text(self, name: str) -> str:
        return "".join(text for found, text in self.texts if found == name)

    @property
    def model(self):
        return json.loads(self.text("model"))

    def tensors(self):
        content = base64.b64decode(self.text("weights"))
        found = {}
        for entry in self.model["tensors"]:
            size, shape = int(np.prod(entry["shape"])), entry["shape"]
            if "scales_offset" in entry:
                rows = np.frombuffer(content, np.int8, size, entry["offset"]).reshape(shape)
                scales = np.frombuffer(content, "<f4", shape[0], entry["scales_offset"])
                found[entry["name"]] = rows * scales[:, None]
            else:
                found[entry["name"]] = np.frombuffer(content, "<f4", size, entry["offset"]).reshape(shape)
        return found


def test_the_command_writes_a_page_named_after_the_model(charnn, run):
    result = charnn("export", run)
    assert (result.status, result.err) == (0, "charnn: wrote small.html; open it in a browser\n")
    assert Page(Path("small.html").read_bytes()).model["name"] == "small"
    assert "small.html: exists, and an export replaces nothing; name another with -o" in charnn("export", run).err


def test_a_page_holds_int8_by_default_and_is_small_beyond_the_weights(run):
    model = charnn.api.read_model(run)
    content = page_of(model)
    page = Page(content)
    sizes = [array.shape for array in model.weights.values()]
    num_bytes = sum(math.prod(shape) if len(shape) == 2 else 0 for shape in sizes) + sum(
        4 * shape[0] for shape in sizes
    )
    assert len(page.text("weights")) == math.ceil(num_bytes / 3) * 4
    assert len(content) - len(page.text("weights")) < MEBIBYTE / 8
    num_weights = sum(array.size for array in model.weights.values())
    assert len(Page(page_of(model, weights="fp32")).text("weights")) == math.ceil(4 * num_weights / 3) * 4


def test_a_page_holds_the_weights(run):
    model = charnn.api.read_model(run)
    for wanted, weights in ((model.weights, "fp32"), (dequantized(model.weights), "int8")):
        found = Page(page_of(model, weights=weights)).tensors()
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_quantized_rows_are_as_near_as_their_scale_allows():
    matrix = np.array([[0.5, -1.27, 0.004], [0, 0, 0], [1e-20, 3e-20, 0]], dtype=np.float32)
    rows, scales = quantized(matrix)
    assert rows.tolist() == [[50, -127, 0], [0, 0, 0], [42, 127, 0]]
    assert np.abs(rows * scales[:, None] - matrix).max(axis=1) == pytest.approx(np.zeros(3), abs=0.005)


def test_the_page_loads_nothing_and_runs_its_own_scripts_only(run):
    content = page_of(charnn.api.read_model(run)).decode()
    page = Page(content.encode())
    addresses = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert addresses == ["data:,"]
    assert not re.search(r"https?://|@import|url\(", page.text("style") + page.text("engine") + page.text("script"))
    policies = [attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes]
    policy = dict(part.split(" ", 1) for part in policies[0].split("; "))
    assert policy["default-src"] == "'none'"
    assert "connect-src" not in policy
    assert policy["worker-src"] == "blob:"
    scripts = [text for name, text in page.texts if name in ("engine", "script")]
    assert len(scripts) == 4
    for text, allowed in [
        *((script, policy["script-src"]) for script in scripts),
        (page.text("style"), policy["style-src"]),
    ]:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in allowed
    assert content.index("content-security-policy") < content.index("<style")


def test_the_scripts_find_their_elements(run):
    page = Page(page_of(charnn.api.read_model(run)))
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert set(re.findall(r"\b(?:element|find)\(\"(\w+)\"\)", page.text("script"))) <= ids


def test_nothing_of_the_training_text_is_in_the_page(run):
    content = page_of(charnn.api.read_model(run)).decode()
    file = charnn.api.read_config(run).corpus.files[0].name
    assert file.endswith("text.txt")
    for private in (file, "text.txt", str(run.parent), charnn.api.read_config(run).corpus.files[0].sha256):
        assert private not in content


def test_the_page_says_what_the_model_is(run):
    line = re.search(r"A recurrent language model.*", Page(page_of(charnn.api.read_model(run))).visible)
    assert line
    assert re.fullmatch(
        r"A recurrent language model of characters \(lstm, 1 layer of 24 units, [\d,]+ parameters \+ [\d,]+ in n-gram embeddings, "
        r"int8\), trained with charnn [\d.]+ in 120 steps\. It runs entirely in your browser; nothing that you type is sent anywhere\.",
        line[0],
    )


def test_a_model_with_attention_becomes_a_page_that_says_so(charnn, run):
    config = read_model(run).config
    architecture = replace(config.architecture, attention_window=1000, attention_size=4)
    write_model(run, replace(config, architecture=architecture), ramp_weights(architecture), generation=0)
    assert charnn("export", run).status == 0
    page = Page(Path("small.html").read_bytes())
    assert page.model["architecture"]["attention_window"] == 1000
    assert page.tensors()["attention.weight"].shape == (16, 24)
    assert "(lstm, 1 layer of 24 units with attention over 1,000 positions, " in page.visible


NASTY = [
    "</script>",
    "<!--<script>",
    "\u2028",
    "\u2029",
    "\udc80",
    "\udcff",
    "\x00",
    "\r",
    "\\",
    '"',
    "&lt;",
    "]]>",
    "\ufffe",
    "__proto__",
]


def test_any_vocabulary_survives(tmp_path):
    names = ["<unk>", "\n", *(each for each in NASTY if len(each) == 1)]
    tokenizer = CharTokenizer(Vocabulary(tuple(names), (1,) * len(names), 1, 0), "stream")
    page = Page(page_of(model_of(tokenizer)))
    assert page.model["tokenizer"]["tokens"] == names


def test_any_word_and_any_name_survive():
    names = ["<unk>", "\n", "<glue>", " ", *NASTY]
    tokenizer = WordTokenizer(Vocabulary(tuple(names), (1,) * len(names), 1, 0), "stream")
    page = Page(page_of(model_of(tokenizer, name="</title><script>alert(1)</script> & \u2028")))
    assert page.model["tokenizer"]["tokens"] == names
    assert page.model["name"] == "</title><script>alert(1)</script> & \u2028".rpartition("/")[2]
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 6
    assert as_data({"a": "</script>"}) == '{"a":"\\u003c/script>"}'


def test_the_rules_of_words_are_those_of_charnn():
    described = described_tokenizer(trained_tokenizer(TextOptions(tokenizer="word"), TEXT))["rules"]
    ranges = [
        tuple(int(code, 16) for code in pair) for pair in re.findall(r"\\u\{(\w+)\}-\\u\{(\w+)\}", described["extend"])
    ]
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]
    extend = set(regex.findall(f"[{EXTEND}]", "".join(assigned)))
    found = {chr(code) for first, last in ranges for code in range(first, last + 1)}
    assert found == extend
    assert "…" in described["traits"]["c"]
    assert "、" in described["traits"]["C"]
    for kind, marks in described["traits"].items():
        for mark in marks:
            assert LATEST.traits(mark) == (
                {"c": "closing", "o": "opening", "j": "joining", "q": "quote", "w": "word"}[kind.lower()],
                kind.isupper(),
            )


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_scores_of_subwords_are_those_of_sentencepiece(kind):
    text = "the fox and the heron said so.\nno fox said no\n" * 30
    tokenizer = trained_tokenizer(
        TextOptions(tokenizer="subword", vocab_size=40, subword_model=kind, unit="document"), text
    )
    described = described_tokenizer(tokenizer)["subwords"]
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.files()["tokenizer.model"])
    wanted = [
        None if processor.is_unknown(id) or processor.is_control(id) else processor.get_score(id)
        for id in range(processor.get_piece_size())
    ]
    assert described == {"scores": wanted, "is_unigram": kind == "unigram"}
    assert wanted.count(None) == 2


def test_models_that_a_page_cannot_run_are_refused(monkeypatch):
    model = untrained_model(TEXT, name="runs/odd")
    backward = replace(model, architecture=replace(model.architecture, direction="backward"))
    with pytest.raises(
        ModelError, match=r"^runs/odd: reads from right to left, but a page writes from left to right; export a forward"
    ):
        page_of(backward)
    foreign = replace(model, architecture=replace(model.architecture, cell="adder"))
    with pytest.raises(
        ModelError, match=r"^runs/odd: has the cell 'adder', which was registered in Python and is unknown to a page"
    ):
        page_of(foreign)
    old = trained_tokenizer(TextOptions(tokenizer="word"), TEXT)
    old.version = 1
    with pytest.raises(
        ModelError, match="splits words by the rules of an older version of charnn, which a page does not know; train"
    ):
        page_of(model_of(old))
    monkeypatch.setattr(html, "MAX_BYTES", 1000)
    with pytest.raises(
        ModelError, match=r"has [\d,]+ bytes of weights in fp32, which are too many .* or leave --weights fp32 out$"
    ):
        page_of(model, weights="fp32")


def test_a_refused_model_leaves_no_file(charnn, tmp_path, run):
    config = json.loads((run / "config.json").read_text())
    config["architecture"]["direction"] = "backward"
    (run / "config.json").write_text(json.dumps(config))
    result = charnn("export", run, "-o", "page.html")
    assert result.status == 1
    assert "reads from right to left" in result.err
    assert not (tmp_path / "page.html").exists()


def test_weights_are_chosen_for_a_page_only(charnn, run):
    with pytest.raises(
        UnusedOptionError, match=r"^--weights: has no effect without --to html; add that or leave this out"
    ):
        ExportOptions(to="onnx", weights="int8")
    assert charnn("export", run, "--weights", "fp32").status == 0
    assert charnn("export", run, "--weights", "fp16", "-o", "a.html").status == 2


def test_the_page_is_installed():
    assert 'charnn.export" = ["page/*"]' in (REPOSITORY / "pyproject.toml").read_text()


def test_of_a_bidirectional_model_the_forward_half_is_exported_and_that_is_said(charnn, run):
    shutil.copytree(run, run / "backward")
    result = charnn("export", run)
    said = f"charnn: {run}: is a bidirectional model, of which the forward half is exported\n"
    assert (result.status, result.err) == (0, f"{said}charnn: wrote small.html; open it in a browser\n")
