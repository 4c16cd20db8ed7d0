"""The page of a model in Chromium, opened from a file, without network."""

import itertools
import json
import math
import random
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="needs the extra clients: pip install -e '.[clients]'")

import charnn.api
from charnn.config import SampleOptions, TextOptions
from charnn.export.html import page_of
from charnn.export.html_weights import dequantized
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import read_context
from charnn.inference.stepper import stepper_for
from charnn.sampling.selection import TokenContext, TokenSelector
from charnn.text.tokenizers import decode
from tests.conftest import FABLES, trained_tokenizer
from tests.export.models import ARCHITECTURES, model_of, untrained_model

INSTALL = "needs the extra clients: pip install -e '.[clients]'"
FOX = "The fox said: no. " * 3 + "\n"
HEBREW = "השועל אמר לחסידה: לא.\nהחסידה שתקה.\n"
OWN = re.compile("file:|blob:|data:,")
NASTY = (
    "Hello wörld—“quotes” ‘x’ ¿qué? 5.5 1,000 ١٢٣٫٤ שלום, עולם! नमस्ते क्षि। 你好，世界。「引」👩‍👩‍👧‍👦 🇫🇷🇩🇪 e\u0301 a\u200bb c\u200dd ... .. -- "
    "--- ---- \t tab  two   x\u00a0y can't o’clock <unk> </s> <eos> <glue> ▁ ▅ \ufdd1 \x1c \x85 \ufeff \u2028 a_b _ 3.\u0301a "
    "3.5\u0301a 3.5x ﾊﾟ № ½ x\U0001f3fb 👍🏽 \udc80\n\nline\n"
)
TRAINED = NASTY.replace("\udc80", "")  # SentencePiece does not learn from bytes that are not UTF-8
TOKENIZERS = {
    "char": {"tokenizer": "char"},
    "byte": {"tokenizer": "byte"},
    "byte-document": {"tokenizer": "byte", "unit": "document"},
    "word": {"tokenizer": "word"},
    "pretokenized": {"tokenizer": "word", "pretokenized": True},
    "pretokenized-document": {"tokenizer": "word", "pretokenized": True, "unit": "document"},
    "unigram": {"tokenizer": "subword", "vocab_size": 300, "subword_model": "unigram"},
    "bpe": {"tokenizer": "subword", "vocab_size": 300, "subword_model": "bpe", "unit": "document"},
}
COMPLETE = """async ([model, weights, bodies, options]) => {
    const kept = [window.WebAssembly];
    if (options.plain) delete window.WebAssembly;
    const answers = [];
    let resolve;
    const answer = charnnAnswering((message) => {
        if (message.part) {
            answers.at(-1).push(message.part);
            answer({ kind: "shown", number: message.number });
        } else resolve(message.error);
    });
    const buffer = Uint8Array.from(atob(weights), (character) => character.charCodeAt(0)).buffer;
    answer({ kind: "load", description: JSON.parse(model), buffer });
    [window.WebAssembly] = kept;
    for (const [number, body] of bodies.entries()) {
        const ended = new Promise((settle) => { resolve = settle; });
        answers.push([]);
        answer({ kind: "complete", number, body });
        const error = await ended;
        if (error) throw new Error(error);
    }
    return JSON.stringify(answers); // a string, since lone surrogates do not survive otherwise
}"""


PRESS_ESCAPE_AFTER_FIRST_TOKENS = """() => {
    const observer = new MutationObserver(() => {
        if (!document.querySelector(".token.generated")) return;
        observer.disconnect();
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    });
    observer.observe(document.querySelector(".tokens"), { childList: true });
}"""


class Opener:
    """Opens the pages of models from files, offline, and notes what they ask for and which scripts fail."""

    def __init__(self, browser, directory):
        self._browser, self._directory, self._contexts, self._wrong = browser, directory, [], []

    def __call__(self, model, *, weights="int8", script="", **options):
        file = self._directory / f"{len(self._contexts)}.html"
        file.write_bytes(page_of(model, weights=weights))
        self._contexts.append(self._browser.new_context(offline=True, **options))
        page = self._contexts[-1].new_page()
        page.on("request", lambda request: self._wrong.append(request.url) if not OWN.match(request.url) else None)
        page.on("pageerror", lambda error: self._wrong.append(str(error)))
        page.on("console", lambda message: self._wrong.append(message.text) if message.type == "error" else None)
        if script:
            page.add_init_script(script)
        page.goto(file.as_uri())
        page.wait_for_selector("#write:not([disabled])")
        return page

    def close(self):
        for context in self._contexts:
            context.close()
        assert self._wrong == []


@pytest.fixture
def open_page(browser, tmp_path):
    """Open a page; at the end, nothing else was asked for and no script has failed."""
    opener = Opener(browser, tmp_path)
    yield opener
    opener.close()


@pytest.fixture(scope="module")
def fables_page(browser, tmp_path_factory, _trained):
    """The page of a small character model, which several tests write in."""
    opener = Opener(browser, tmp_path_factory.mktemp("fables"))
    yield opener(charnn.api.read_model(_trained))
    opener.close()


@pytest.fixture(scope="module")
def engine_page(browser, tmp_path_factory):
    """A page whose engine can be given other models."""
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_bytes(page_of(untrained_model(FOX)))
    page = browser.new_page()
    page.goto(file.as_uri())
    return page


def completed(page, model, bodies, *, weights="fp32", plain=False):
    """Return what the engine of a page answers for a model: the parts of each answer joined, with their texts and tokens."""
    content = page_of(model, weights=weights).decode()
    blocks = [
        re.search(rf'<script id="{name}"[^>]*>(.*?)</script>', content, re.DOTALL)[1] for name in ("model", "weights")
    ]
    defaults = {"numAlternatives": 3, "temperature": 0, "topP": 1, "minP": 0, "seed": 1, "maxTokens": 0}
    answers = json.loads(page.evaluate(COMPLETE, [*blocks, [defaults | body for body in bodies], {"plain": plain}]))
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return [
        {"text": "".join(part["text"] for part in parts)}
        | {name: [value for part in parts for value in part["logprobs"][name]] for name in names}
        | {"unknown": [text for part in parts for text in part.get("unknown") or []]}
        for parts in answers
    ]


def greedy(model, prompt, num_tokens):
    """Return what charnn's engine writes after a prompt: the text, the ids, and the log probabilities of prompt and text."""
    stepper, tokenizer = stepper_for(Engine.of(model), Engine.of(model).initial_state()), model.tokenizer
    prompt_ids = tokenizer.encode(prompt).tolist()
    ids, log_probs = [*prompt_ids], []
    logits = stepper.step(np.array([tokenizer.vocabulary.boundary_id]))
    for position in range(len(prompt_ids) + num_tokens):
        log_probs_V = log_softmax(logits)[0]
        if position == len(ids):
            allowed = log_probs_V.copy()
            if tokenizer.vocabulary.unknown_id is not None:
                allowed[tokenizer.vocabulary.unknown_id] = -np.inf
            ids.append(int(allowed.argmax()))
        log_probs.append(float(log_probs_V[ids[position]]))
        logits = stepper.step(np.array([ids[position]]))
    decoder = tokenizer.decoder()
    for id in prompt_ids:
        decoder.push(id)
    written = "".join(decoder.push(id) for id in ids[len(prompt_ids) :]) + decoder.flush()
    return prompt + written, ids, log_probs


SETTINGS = {"temperature": 0.8, "top_p": 1, "min_p": 0, "max_tokens": 200, "seed": ""}


def write(page, prompt, **settings):
    """Let the page continue a text, and return its text."""
    page.fill("#text", prompt)
    for name, value in (SETTINGS | settings).items():
        page.fill(f"#{name}", str(value))
    page.click("#write")
    return finished(page)


def finished(page):
    page.wait_for_selector("#write:not([disabled])")
    return page.input_value("#text")


def test_the_greedy_text_is_that_of_the_engine_with_the_same_weights(open_page, run):
    model = charnn.api.read_model(run)
    for weights, same in (("fp32", model), ("int8", replace(model, weights=dequantized(model.weights)))):
        page = open_page(model, weights=weights)
        text, _, log_probs = greedy(same, "The fox ", 500)
        assert write(page, "The fox ", temperature=0, max_tokens=500) == text
        bits = -sum(log_probs) / math.log(2)
        assert (
            page.inner_text("article .totals") == f"508 tokens · {bits:.1f} bits · {bits / 508:.2f} bits per character"
        )
        assert page.inner_text("#summary").startswith(f"{bits / 508:.2f} bits per token · seed ")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_computes_what_the_engine_does(engine_page, name):
    model = untrained_model(FOX, **ARCHITECTURES[name])
    text, _, log_probs = greedy(model, "The fox", 40)
    for plain in (False, True):
        (found,) = completed(engine_page, model, [{"prompt": "The fox", "maxTokens": 40}], plain=plain)
        assert found["text"] == text
        assert found["token_logprobs"] == pytest.approx(log_probs, abs=2e-4)


def test_each_text_is_attended_to_from_its_own_beginning(engine_page):
    model = untrained_model(FOX, **ARCHITECTURES["gru-attention"])
    same = replace(model, weights=dequantized(model.weights))
    wanted = {prompt: greedy(same, prompt, 30) for prompt in ("The fox", "no", "")}
    prompts = ["The fox", "no", "The fox", ""]
    for plain in (False, True):
        bodies = [{"prompt": prompt, "maxTokens": 30} for prompt in prompts]
        answers = completed(engine_page, model, bodies, weights="int8", plain=plain)
        for prompt, found in zip(prompts, answers, strict=True):
            text, _, log_probs = wanted[prompt]
            assert found["text"] == text
            assert found["token_logprobs"] == pytest.approx(log_probs, abs=2e-4)


def test_a_large_matrix_is_multiplied_in_blocks(engine_page):
    model = untrained_model(FOX, hidden_size=131, embedding_size=37, num_layers=2)
    text, _, log_probs = greedy(model, "The fox", 30)
    (found,) = completed(engine_page, model, [{"prompt": "The fox", "maxTokens": 30}])
    assert found["text"] == text
    assert found["token_logprobs"] == pytest.approx(log_probs, abs=5e-4)


def texts_to_encode():
    """Return texts of all scripts, and random ones made of their parts."""
    draw = random.Random(5)
    fables = FABLES.read_text(encoding="utf-8")[:20_000]
    texts = ["", " ", "\n", NASTY, fables[:300]]
    for _ in range(60):
        texts.append("".join(draw.choice(NASTY + " .'\n") for _ in range(draw.randrange(1, 30))))
        words = NASTY.split(" ")
        texts.append(
            "".join(draw.choice(words) + draw.choice(["", " ", "  ", "\n"]) for _ in range(draw.randrange(1, 8)))
        )
    return texts


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_finds_the_same_tokens(engine_page, name):
    text = FABLES.read_text(encoding="utf-8")[:20_000] + 3 * TRAINED
    tokenizer = trained_tokenizer(TextOptions(**TOKENIZERS[name]), text)
    model = model_of(tokenizer, hidden_size=4, embedding_size=2)
    texts = texts_to_encode()
    answers = completed(engine_page, model, [{"prompt": text} for text in texts])
    for text, found in zip(texts, answers, strict=True):
        ids = tokenizer.encode(text).tolist()
        spelled = [charnn.api.as_text(tokenizer.vocabulary.tokens[id], tokenizer.kind) for id in ids]
        assert found["tokens"] == spelled, repr(text)
        assert found["text"] == text
        assert len(found["unknown"]) == ids.count(tokenizer.vocabulary.unknown_id)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_decoder_writes_the_same_text(engine_page, name):
    tokenizer = trained_tokenizer(
        TextOptions(**TOKENIZERS[name]), FABLES.read_text(encoding="utf-8")[:9000] + 3 * TRAINED
    )
    model = model_of(tokenizer, hidden_size=4, embedding_size=2)
    body = {"prompt": "", "maxTokens": 300, "temperature": 10}
    (found,) = completed(engine_page, model, [body])
    names = [charnn.api.as_text(token, tokenizer.kind) for token in tokenizer.vocabulary.tokens]
    ids = [names.index(token) for token in found["tokens"]]
    assert found["text"] == decode(tokenizer, ids)
    assert tokenizer.vocabulary.unknown_id not in ids


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.7}, {"topP": 0.6}, {"minP": 0.2}, {"temperature": 1.5, "topP": 0.8, "minP": 0.1}],
    ids=str,
)
def test_tokens_are_drawn_as_charnn_draws_them(engine_page, settings):
    model = untrained_model(FOX)
    (probs,) = expected_probs(model, settings)
    body = {"prompt": "The", "maxTokens": 1, "temperature": 1} | settings
    answers = completed(engine_page, model, [body | {"seed": seed} for seed in range(1500)])
    drawn = [each["tokens"][-1] for each in answers]
    for token, prob in zip(model.tokenizer.vocabulary.tokens, probs, strict=True):
        spread = math.sqrt(prob * (1 - prob) / len(drawn))
        assert drawn.count(token) / len(drawn) == pytest.approx(prob, abs=5 * spread), token


def expected_probs(model, settings):
    options = SampleOptions(
        temperature=settings.get("temperature", 1), top_p=settings.get("topP"), min_p=settings.get("minP")
    )
    selector = TokenSelector(model.tokenizer, options)
    logits, _ = read_context(Engine.of(model), model.tokenizer, model.tokenizer.encode("The"))
    weights = selector.weights(selector.allowed(log_softmax(logits), [TokenContext([], [])]), options.temperature)
    probs = np.exp(weights.log_probs_BV - weights.log_probs_BV.max())
    return probs / probs.sum()


def test_a_seed_repeats_a_text(fables_page):
    page = fables_page
    first = write(page, "The ", seed=3, max_tokens=80)
    assert page.inner_text("#summary").endswith("seed 3")
    assert write(page, "The ", seed=3, max_tokens=80) == first
    assert write(page, "The ", seed=4, max_tokens=80) != first
    drawn = write(page, "The ", max_tokens=80)
    seed = page.inner_text("#summary").rpartition(" ")[2]
    assert write(page, "The ", seed=seed, max_tokens=80) == drawn


def test_an_alternative_is_taken_and_undone_with_the_keyboard(fables_page):
    page = fables_page
    text = write(page, "The fox", temperature=0, max_tokens=20)
    page.keyboard.press("Tab")
    page.locator(".token").first.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    offered = page.locator("#alternatives button").all_inner_texts()
    assert len(offered) == 8
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    token = {"space": " ", "line end": "\n"}.get(offered[1].split("\n")[0], offered[1].split("\n")[0])
    taken = finished(page)
    assert taken.startswith(text[:10] + token)
    assert len(taken) == 11 + 20
    page.click("#undo")
    assert finished(page) == text


def test_writing_stops(fables_page):
    page = fables_page
    page.evaluate(PRESS_ESCAPE_AFTER_FIRST_TOKENS)
    assert 3 < len(write(page, "The", max_tokens=10_000)) < 10_000
    assert len(write(page, "The", max_tokens=30)) == 33


def test_a_typed_text_is_scored(fables_page, run):
    page, model = fables_page, charnn.api.read_model(run)
    page.fill("#text", "The fox said.")
    page.click("#score")
    finished(page)
    _, _, log_probs = greedy(replace(model, weights=dequantized(model.weights)), "The fox said.", 0)
    bits = -sum(log_probs) / math.log(2)
    assert page.inner_text("#summary") == f"{bits / 13:.2f} bits per token"
    assert page.inner_text("article .totals") == f"13 tokens · {bits:.1f} bits · {bits / 13:.2f} bits per character"


@pytest.mark.parametrize(
    ("options", "typed", "message"),
    [
        (
            {"tokenizer": "char"},
            "The é fox ß",
            'This model of 16 tokens does not know the character "é" (U+00E9) (and 1 more) and reads <unk> instead.',
        ),
        (
            {"tokenizer": "word"},
            "The zyzzyva said",
            'This model of 10 tokens does not know the word "zyzzyva" and reads <unk> instead.',
        ),
    ],
    ids=["char", "word"],
)
def test_unknown_tokens_are_named_and_the_typed_text_stays(open_page, options, typed, message):
    page = open_page(untrained_model(FOX, TextOptions(**options)))
    text = write(page, typed, max_tokens=5)
    assert text.startswith(typed)
    assert page.inner_text("#unknown") == message
    assert page.inner_text(".tokens").startswith(typed)


def test_a_space_before_the_next_word_is_not_doubled(engine_page):
    model = untrained_model(FOX, TextOptions(tokenizer="word"))
    for prompt in ("The", "The fox", "The fox said:"):
        bare, spaced = completed(
            engine_page, model, [{"prompt": prompt + space, "maxTokens": 10} for space in ("", " ")]
        )
        assert spaced["tokens"] == bare["tokens"]
        assert spaced["text"] == f"{prompt} {bare['text'].removeprefix(prompt).removeprefix(' ')}"


def test_a_line_ends_the_text_of_a_model_of_lines(engine_page):
    model = untrained_model(FOX, TextOptions(tokenizer="char", unit="line"))
    bodies = [{"prompt": "The", "maxTokens": 2000, "temperature": 1, "seed": seed} for seed in range(5)]
    for found in completed(engine_page, model, bodies):
        assert 3 <= len(found["text"]) < 2003
        assert "\n" not in found["text"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_p": 2}, "Top-p: must be a number from 0.01 to 1."),
        ({"temperature": -1}, "Temperature: must be a number from 0 to 10."),
        ({"seed": "1.5"}, "seed: found 1.5, but it must be an integer from 0 to 2147483647"),
    ],
    ids=["top-p", "temperature", "seed"],
)
def test_a_wrong_setting_is_named(fables_page, settings, message):
    page = fables_page
    assert write(page, "The fox", **settings) == "The fox"
    assert page.inner_text("#status") == message
    assert len(write(page, "The fox", max_tokens=3)) == 10


@pytest.mark.parametrize(
    "script", ["delete window.Worker", "window.Worker = class { constructor() { setTimeout(() => this.onerror({})) } }"]
)
def test_a_browser_without_workers_and_webassembly_writes_the_same(open_page, script):
    model = untrained_model(FOX, embedding_order=2)
    page = open_page(model, weights="fp32", script=f"{script}; delete window.WebAssembly")
    assert write(page, "The fox", temperature=0, max_tokens=60) == greedy(model, "The fox", 60)[0]


def test_the_policy_forbids_network(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_bytes(page_of(untrained_model(FOX)))
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        blocked = page.evaluate(
            """() => new Promise((resolve) => {
                document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
                const request = new XMLHttpRequest();
                request.open("GET", "https://example.org/");
                request.send();
            })"""
        )
    assert blocked == "connect-src"


def test_hebrew_runs_from_right_to_left_and_fits_the_window(open_page):
    page = open_page(untrained_model(HEBREW, name="שועלים"))
    write(page, "השועל", max_tokens=40)
    for name in ("#text", ".tokens"):
        assert page.locator(name).evaluate("(element) => getComputedStyle(element).direction") == "rtl"
        assert page.locator(name).evaluate("(element) => element.closest('[lang]').lang") == ""
    for width, scheme in itertools.product((400, 1600), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.locator("body").evaluate("(element) => getComputedStyle(element).backgroundColor")
        assert (min(map(int, re.findall(r"\d+", background))) > 128) == (scheme == "light")


def test_the_page_is_accessible(open_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=INSTALL)
    page = open_page(untrained_model(FOX))
    write(page, "The fox é", max_tokens=30)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
