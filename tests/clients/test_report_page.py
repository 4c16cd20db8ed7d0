"""Pages of `charnn report` and `charnn inspect` in Chromium: they ask for nothing, run no text, and work by keyboard."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="needs the extra clients: pip install -e '.[clients]'")
pytest.importorskip("axe_playwright_python", reason="needs the extra clients: pip install -e '.[clients]'")

from axe_playwright_python.sync_playwright import Axe

import charnn as package
from charnn.cli.main import main
from tests.analysis.attention_models import add_attention

HOSTILE = "</script><script>boom()</script> <img src=x onerror=boom()> $x$ & \"'\n"
SIZES = {"phone": (400, 800), "projector": (1600, 900)}


def printed_pages(pdf):
    """Return the number of pages of a PDF."""
    return pdf.count(b"/Type /Page") - pdf.count(b"/Type /Pages")


@pytest.fixture(scope="module")
def pages(_trained, _trained_lines, tmp_path_factory):
    """The files of pages: of one run, of two with hostile text, of which one has attention, and of all inspections of these."""
    directory = tmp_path_factory.mktemp("pages")
    hostile = Path(shutil.copytree(_trained, directory / "<img src=x onerror=boom()>"))
    add_attention(hostile)
    lines = (hostile / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) | ({"sample": HOSTILE} if '"evaluated"' in line else {}) for line in lines]
    (hostile / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    text = directory / "hostile.txt"
    text.write_text(HOSTILE * 8, encoding="utf-8")
    page = directory / "inspect.html"
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                "inspect",
                "all",
                str(hostile),
                str(_trained_lines),
                "--file",
                str(text),
                "--text",
                HOSTILE,
                "--html",
                str(page),
            ]
        )
    assert not exit_.value.code
    return {
        "one": package.write_report(_trained, output=directory / "one.html", passage=200),
        "hostile": package.write_report(
            hostile, _trained_lines, output=directory / "two.html", file=str(text), passage=200
        ),
        "inspect": page,
    }


@pytest.fixture
def open_page(browser, pages):
    """Open a page; at the end, nothing was asked for, no script has failed and no text was run."""
    contexts, wrong = [], []

    def opened(name, size=SIZES["projector"], **options):
        contexts.append(browser.new_context(viewport={"width": size[0], "height": size[1]}, **options))
        page = contexts[-1].new_page()
        own = pages[name].as_uri()
        page.on("request", lambda request: wrong.append(request.url) if request.url.split("#")[0] != own else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.add_init_script("window.boom = () => { throw new Error('text was run'); }")
        page.goto(own)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [entry for entry in wrong if not entry.startswith("data:")] == []


@pytest.mark.parametrize("name", ["one", "hostile", "inspect"])
@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("projector", "light")])
def test_pages_are_accessible_and_fit_on_any_screen(open_page, name, size, scheme):
    page = open_page(name, SIZES[size], color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_details_and_a_popup_are_accessible(open_page):
    page = open_page("one", color_scheme="dark")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.get_by_role("option").nth(3).focus()
    assert page.locator(".popup").is_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_token_shows_its_surprisal_on_hover(open_page):
    page = open_page("one")
    token = page.get_by_role("option").nth(2)
    token.hover()
    popup = page.locator(".popup")
    bits = token.get_attribute("data-bits")
    assert f"{bits} bits" in popup.inner_text()
    assert [row.split("\t")[0] for row in popup.locator("table").inner_text().splitlines()] == [
        name for name, _ in json.loads(token.get_attribute("data-next"))
    ]
    page.keyboard.press("Escape")
    assert popup.is_hidden()
    page.get_by_role("option").nth(5).hover()
    popup.hover()
    assert popup.is_visible()
    page.locator("h1").hover()
    assert popup.is_hidden()


def test_tokens_are_reached_by_the_keyboard(open_page):
    page = open_page("one")
    options, popup = page.get_by_role("option"), page.locator(".popup")
    assert page.locator("[role=option][tabindex='0']").count() == 1
    options.first.focus()
    for key, number in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", options.count() - 1),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        focused = page.evaluate("[...document.querySelectorAll('[role=option]')].indexOf(document.activeElement)")
        assert focused == number
        assert options.nth(number).get_attribute("aria-selected") == "true"
        assert popup.is_visible()
        label = options.nth(number).get_attribute("aria-label")
        assert f"{options.nth(number).get_attribute('data-bits')} bits, rank" in label
        assert "; likeliest: " in label
    top = page.evaluate("document.activeElement.getBoundingClientRect().top")
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    page.keyboard.press("ArrowUp")
    assert below > top == page.evaluate("document.activeElement.getBoundingClientRect().top")
    page.keyboard.press("Tab")
    assert popup.is_hidden()
    assert page.locator("[role=option]:focus").count() == 0


def test_a_token_is_tapped_on_a_phone(open_page):
    page = open_page("one", SIZES["phone"], has_touch=True, is_mobile=True)
    token = page.get_by_role("option").nth(9)
    token.tap()
    box = page.locator(".popup").bounding_box()
    assert token.get_attribute("data-bits") in page.locator(".popup").inner_text()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= SIZES["phone"][0]


def test_the_slider_goes_through_the_samples(open_page, run):
    page = open_page("one")
    stored = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    samples = [each for each in stored if each["event"] == "evaluated"]
    slider, shown = page.get_by_role("slider"), page.locator(".sample:not([hidden])")
    assert shown.locator("pre").text_content() == samples[-1]["sample"]
    slider.focus()
    page.keyboard.press("Home")
    assert shown.locator("pre").text_content() == samples[0]["sample"]
    assert slider.get_attribute("aria-valuetext").startswith(f"step {samples[0]['step']:,}, ")
    assert f"validation loss {samples[0]['valid_loss_nats']:.4f}" in slider.get_attribute("aria-valuetext")
    assert page.get_by_role("button", name="Earlier").is_disabled()
    page.get_by_role("button", name="Later").click()
    assert shown.locator("pre").text_content() == samples[1]["sample"]
    assert slider.input_value() == "1"
    assert page.locator("[aria-live]").count() == 0


def test_hostile_text_is_shown(open_page):
    page = open_page("hostile")
    assert page.locator("img").count() == 0
    assert "<script>boom()</script>" in page.locator(".tokens").first.inner_text()
    assert page.locator(".sample:not([hidden]) pre").first.text_content().strip() == HOSTILE.strip()
    assert "<img src=x onerror=boom()>" in page.title()


@pytest.mark.parametrize("name", ["one", "inspect"])
def test_a_page_is_printed_in_light_colors(open_page, name, tmp_path):
    page = open_page(name, color_scheme="dark")
    pdf = page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    assert 1 <= printed_pages(pdf) <= (12 if name == "one" else 60)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not page.locator("nav").is_visible()
