"""A page that runs a model in any browser, from one file and without network: the page of `charnn serve`, and the model.

The page's own requests to its server are answered by `page/server.js`, with the network and the tokenizer restated in
JavaScript.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import charnn
from charnn.cells import CELL_NAMES
from charnn.cells.parameters import parameter_counts
from charnn.errors import ModelError
from charnn.export.html_tokenizer import described_tokenizer
from charnn.export.html_weights import HtmlWeights, packed
from charnn.files import JsonObject, write_output
from charnn.storage.model_directory import Model, config_if_readable

ENGINE = ("products.js", "attention.js", "network.js", "tokenizer.js", "sampling.js", "completions.js")
"""The files of `page/` that run in a worker, in this order."""
PAGE_SCRIPTS = ("alternatives.js", "page.js")
"""The files of the page of `charnn serve` that run after them, in this order."""
MAX_BYTES = 400 << 20
"""The largest page: browsers hold no string that is longer than about 512 MiB, and the weights are one."""
SEED = '<label>Seed <input id="seed" type="number" min="0" max="2147483647" step="1" placeholder="random"></label>'
_TOKENS = {"char": "characters", "byte": "bytes", "word": "words", "pretokenized": "words", "subword": "subwords"}


def write(model: Model, target: Path, *, weights: HtmlWeights = "int8") -> None:
    """Write the page of a model.

    Args:
        target: a file.
        weights: how its weights are stored.

    Raises:
        ModelError: for a model that the page cannot run.
        StorageError: if the file cannot be written.
    """
    write_output(target, page_of(model, weights=weights))


def page_of(model: Model, *, weights: HtmlWeights = "int8") -> bytes:
    """Return the page of a model. Raises ModelError for one that the page cannot run."""
    _refuse_other_models(model)
    tensors, content = packed(model.weights, weights)
    if len(content) * 4 / 3 > MAX_BYTES:
        raise ModelError(
            f"{model.path}: has {len(content):,} bytes of weights in {weights}, which are too many for a page; export it with "
            "--to hf or onnx" + (", or leave --weights fp32 out" if weights == "fp32" else "")
        )
    description: JsonObject = {
        "name": model.path.resolve().name,
        "architecture": asdict(model.architecture),
        "tokenizer": described_tokenizer(model.tokenizer),
        "tensors": tensors,
    }
    blocks = [
        f'<script id="model" type="application/json">{as_data(description)}</script>',
        f'<script id="weights" type="text/plain">{base64.b64encode(content).decode()}</script>',
    ]
    page = _assembled(description["name"], about(model, weights), blocks)
    return page.encode("utf-8", "backslashreplace")  # bytes that are not UTF-8, as JSON escapes them


def _refuse_other_models(model: Model) -> None:
    shape, tokenizer = model.architecture, model.tokenizer
    if shape.direction == "backward":
        raise ModelError(
            f"{model.path}: reads from right to left, but a page writes from left to right; export a forward model"
        )
    if shape.cell not in CELL_NAMES:
        raise ModelError(
            f"{model.path}: has the cell {shape.cell!r}, which was registered in Python and is unknown to a page; export a "
            f"model with one of {', '.join(CELL_NAMES)}"
        )
    if tokenizer.kind == "word" and tokenizer.version == 1:
        raise ModelError(
            f"{model.path}: splits words by the rules of an older version of charnn, which a page does not know; train it again"
        )


def about(model: Model, weights: HtmlWeights) -> str:
    """Return a line that says what a model is, without anything about its text."""
    shape, config = model.architecture, config_if_readable(model)
    layers = "layer" if shape.num_layers == 1 else "layers"
    steps = f" in {config.results.steps:,} steps" if config is not None and config.results.steps else ""
    attention = f" with attention over {shape.attention_window:,} positions" if shape.attention_window else ""
    return (
        f"A recurrent language model of {_TOKENS[model.tokenizer.kind]} ({shape.cell}, {shape.num_layers} {layers} of "
        f"{shape.hidden_size} units{attention}, {parameter_counts(shape)}, {weights}), "
        f"trained with charnn {charnn.__version__}{steps}. "
        "It runs entirely in your browser; nothing that you type is sent anywhere."
    )


def as_data(content: JsonObject) -> str:
    """Return JSON that can stand in a script element, whatever strings it has."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _assembled(name: str, line: str, blocks: Sequence[str]) -> str:
    """Return the page of `charnn serve` with its style and scripts inline, and the model in place of its server."""
    serving, own = files("charnn.serving").joinpath("page"), files("charnn.export").joinpath("page")
    style = serving.joinpath("page.css").read_text("utf-8") + own.joinpath("extra.css").read_text("utf-8")
    engine = "\n".join(['"use strict";', "{", *(own.joinpath(part).read_text("utf-8") for part in ENGINE), "}"])
    scripts = [engine, own.joinpath("server.js").read_text("utf-8")]
    scripts += [serving.joinpath(name).read_text("utf-8") for name in PAGE_SCRIPTS]
    inline = [_inline("script", script, ' id="engine"' if script is engine else "") for script in scripts]
    title, shown = html.escape(name), html.escape(line)
    notes = '<p id="unknown" role="status"></p>\n      <p id="summary" class="totals"></p>'

    page = serving.joinpath("index.html").read_text("utf-8")
    page = _changed(page, r"<title>.*?</title>", lambda _: f"<title>{title} · charnn</title>")
    page = _changed(page, r"<h1>.*?</h1>", lambda _: f"<h1>{title}</h1>")
    page = _changed(page, r"</header>", lambda found: f'  <p id="about" class="hint">{shown}</p>\n    {found}')
    page = _changed(page, r'<div id="settings">', lambda found: f"{found}\n        {SEED}")
    page = _changed(page, r'<div id="panels">', lambda found: f"{notes}\n      {found}")
    for name in PAGE_SCRIPTS:
        page = _changed(page, rf'\s*<script src="{re.escape(name)}"[^>]*></script>', lambda _: "")
    assert "<script" not in page
    page = _changed(page, r"<link[^>]*\bpage\.css[^>]*>", lambda _: _inline("style", style))
    page = _changed(page, r"<meta charset=[^>]*>", lambda found: f"{found}\n    {_policy(scripts, style)}")
    return _changed(page, r"</body>", lambda found: "\n".join([*blocks, *inline, found]))


def _changed(page: str, pattern: str, change: Callable[[str], str]) -> str:
    """Return a page in which the first match of a pattern, which must be there, is changed."""
    changed, count = re.subn(pattern, lambda match: change(match.group()), page, count=1)
    assert count, f"charnn/serving/page/index.html has no {pattern}"
    return changed


def _inline(element: str, content: str, attributes: str = "") -> str:
    """Return a style or script element. Its content comes from this package and must not contain what would end it."""
    assert not re.search(rf"</{element}|<!--", content, re.IGNORECASE), element
    return f"<{element}{attributes}>{content}</{element}>"


def _policy(scripts: Sequence[str], style: str) -> str:
    """Return the content security policy: nothing but the inline scripts, the style and a worker, and no network."""
    policy = (
        f"default-src 'none'; script-src 'wasm-unsafe-eval' {' '.join(map(_source, scripts))}; worker-src blob:; "
        f"style-src {_source(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return f'<meta http-equiv="content-security-policy" content="{policy}">'


def _source(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"
