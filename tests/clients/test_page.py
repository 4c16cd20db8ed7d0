"""The page to write with, in headless Chromium."""

import contextlib
import json
import time
import urllib.parse
import urllib.request

import pytest

pytest.importorskip("playwright", reason="needs the extra clients: pip install -e '.[clients]'")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

import charnn
from charnn.serving.application import Access, make_application
from charnn.serving.models import ServedModels
from tests.serving.http_client import running

WINDOW = {"width": 1000, "height": 700}


@pytest.fixture
def visit(browser, served):
    """Open the page in a fresh browser profile; at the end, nothing may have failed or gone to another host."""
    wrong = []

    def note_request(request, address):
        if not request.url.startswith((address, "data:")):
            wrong.append(f"asked {request.url}")

    def note_console(message, allowed):
        if message.type in ("error", "warning") and not any(each in message.text for each in allowed):
            wrong.append(message.text)

    with contextlib.ExitStack() as contexts:

        def open_page(*models, address=None, allowed=(), window=WINDOW, scheme="light", **state):
            address = address or served.address
            context = browser.new_context(viewport=window, color_scheme=scheme, reduced_motion="reduce")
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("request", lambda request: note_request(request, address))
            page.on("console", lambda message: note_console(message, allowed))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            fragment = urllib.parse.urlencode([*state.items(), *(("model", model) for model in models)])
            page.goto(f"{address}/#{fragment}")
            if models:
                expect(page.locator("article")).to_have_count(len(models))
                at_rest(page)
            return page

        yield open_page
    assert wrong == []


def at_rest(page):
    """Wait until nothing is written or scored."""
    expect(page.locator("#stop")).to_be_disabled()
    expect(page.locator("#score")).to_be_enabled()


def tokens(page, model=None):
    panel = (
        page.locator("article") if model is None else page.locator("article", has=page.locator("h2", has_text=model))
    )
    return panel.locator(".token")


def texts(page, model=None):
    return tokens(page, model).all_text_contents()


def choice(page, model):
    return page.get_by_role("checkbox", name=model, exact=True)


def written(page):
    return page.locator("#text").input_value()


def alternatives(page):
    return page.locator("#alternatives")


def until(condition):
    """Wait for a condition that no locator expresses; the page's policy forbids playwright's wait_for_function."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def completed(served, **fields):
    """Return the choice of a completion."""
    body = json.dumps({"max_tokens": 0, "echo": True, "logprobs": 8, **fields}).encode()
    with urllib.request.urlopen(f"{served.address}/v1/completions", body) as reply:
        return json.load(reply)["choices"][0]


def samples_in_progress(served):
    with urllib.request.urlopen(f"{served.address}/health") as reply:
        return sum(json.load(reply)["samples"].values())


@pytest.mark.parametrize("model", ["fables", "words", "subwords"])
def test_writing_streams_into_the_text_and_the_tokens_join_to_it(visit, model):
    page = visit(model, text="The", max_tokens=2000)
    page.click("#write")
    until(lambda: len(written(page)) > 10)
    sizes = [len(written(page)), len(written(page))]
    while page.locator("#stop").is_enabled():
        sizes.append(len(written(page)))
    at_rest(page)
    assert len(set(sizes)) > 2
    assert written(page).startswith("The")
    assert "".join(texts(page)) == written(page)
    expect(page.locator(".token.generated")).to_have_count(2000)


def test_stop_ends_the_sample_and_keeps_the_text(visit, served):
    page = visit("fables", text="The fox", max_tokens=10_000)
    page.click("#write")
    until(lambda: len(written(page)) > 30)
    page.click("#stop")
    at_rest(page)
    kept = written(page)
    assert 30 < len(kept) < 9000
    assert "".join(texts(page)) == kept
    until(lambda: samples_in_progress(served) == 0)
    assert written(page) == kept
    assert page.locator("#status").text_content() == ""


def test_hovering_shows_the_alternatives_until_the_pointer_leaves(visit, served):
    page = visit("fables", text="The fox saw the hen.")
    box = alternatives(page)
    tokens(page).nth(2).hover()
    expect(box).to_be_visible()
    expected = completed(served, model="fables", prompt="The fox saw the hen.")["logprobs"]["top_logprobs"][2]
    names = [{" ": "space", "\n": "line end"}.get(token, token) for token in expected]
    assert box.locator("button span:first-child").all_text_contents() == names
    box.locator("button").nth(3).hover()
    page.wait_for_timeout(400)
    expect(box).to_be_visible()
    page.mouse.move(5, 5)
    expect(box).to_be_hidden()
    tokens(page).nth(5).hover()
    expect(box).to_be_visible()
    page.mouse.move(5, 5)
    expect(box).to_be_hidden()


@pytest.mark.parametrize("width", [400, 1000])
def test_alternatives_are_within_the_window(visit, width):
    window = {"width": width, "height": 700}
    page = visit("fables", text="The fox saw the hen. " * 60, window=window)
    tokens(page).nth(len(texts(page)) // 2).scroll_into_view_if_needed()
    for edge in ("right", "bottom", "x"):
        boxes = page.evaluate(
            "[...document.querySelectorAll('.token')].map((each) => each.getBoundingClientRect().toJSON())"
        )
        visible = [each for each in enumerate(boxes) if each[1]["top"] > 0 and each[1]["bottom"] < 700]
        index = max(visible, key=lambda each: each[1][edge])[0]
        tokens(page).nth(index).hover()
        expect(alternatives(page)).to_be_visible()
        found = alternatives(page).bounding_box()
        assert found["x"] >= 0
        assert found["x"] + found["width"] <= width
        assert found["y"] >= 0
        assert found["y"] + found["height"] <= 700
        assert found["height"] > 100
        page.mouse.move(1, 1)
        expect(alternatives(page)).to_be_hidden()


def test_everything_can_be_done_with_the_keyboard_alone(visit):
    page = visit("fables", max_tokens=40)
    press, focused = (
        page.keyboard.press,
        lambda: page.evaluate("document.activeElement.id || document.activeElement.className"),
    )
    while focused() != "text":
        press("Tab")
    page.keyboard.type("The fox")
    press("Control+Enter")
    until(lambda: len(written(page)) >= 47)
    at_rest(page)
    for expected in ("write", "again", "undo", "score", "temperature", "top_p", "min_p", "max_tokens"):
        press("Tab")
        assert focused() == expected
    page.keyboard.type("9000")  # Tab selects what is in a field
    while focused() != "write":
        press("Shift+Tab")
    press("Enter")
    until(lambda: focused() == "stop")  # Write is disabled
    expect(page.locator(".generated").first).to_be_visible()
    press("Escape")
    at_rest(page)
    assert focused() == "write"
    while focused() != "max_tokens":
        press("Tab")
    page.keyboard.type("5")
    press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Continue with this"
    press("Tab")
    assert focused() == "token"
    expect(alternatives(page)).to_be_visible()
    for _ in range(4):
        press("ArrowRight")
    press("ArrowLeft")
    assert page.evaluate("document.activeElement.textContent") == " "
    press("Enter")
    assert page.evaluate("document.activeElement === document.querySelector('#alternatives button')")
    press("Escape")
    assert focused() == "token"
    expect(alternatives(page)).to_be_hidden()
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowUp")
    chosen = page.evaluate("document.activeElement.firstChild.textContent")
    press("Enter")
    at_rest(page)
    expect(alternatives(page)).to_be_hidden()
    assert written(page).startswith("The" + {"space": " ", "line end": "\n"}.get(chosen, chosen))
    assert len(written(page)) == 9
    assert focused() == "text"


def test_the_focus_shows_alternatives_and_its_loss_hides_them(visit):
    page = visit("fables", text="The fox")
    tokens(page).nth(1).focus()
    expect(alternatives(page)).to_be_visible()
    page.mouse.move(5, 5)
    page.wait_for_timeout(400)
    expect(alternatives(page)).to_be_visible()
    page.locator("#text").focus()
    expect(alternatives(page)).to_be_hidden()
    assert tokens(page).nth(1).get_attribute("aria-label").startswith("h, ")
    assert [each.get_attribute("tabindex") for each in tokens(page).all()][:3] == ["-1", "0", "-1"]


@pytest.mark.parametrize("name", ["fables", "words", "subwords"])
def test_an_alternative_continues_the_text_as_the_model_spells_it(visit, served, name):
    prompt = "The heron and the river"
    page = visit(name, text=prompt, max_tokens=3)
    found = completed(served, model=name, prompt=prompt)["logprobs"]
    model = charnn.load(served.models[name])
    index = len(found["tokens"]) // 2
    before = prompt[: found["text_offset"][index]]
    token = next(
        each for each in list(found["top_logprobs"][index])[1:] if any(map(str.isalpha, each)) and "<" not in each
    )
    tokens(page).nth(index).click()
    alternatives(page).locator("button", has=page.get_by_text(token, exact=True)).first.click()
    until(lambda: written(page) != prompt)
    at_rest(page)
    assert written(page).startswith(before + token)
    assert len(texts(page)) >= index + 4
    read = model.tokenize(before + token)
    assert len(read) == index + 1  # the alternative is one token where it was offered
    page.click("#undo")
    at_rest(page)
    assert written(page) == prompt


def test_undo_and_another_try(visit):
    page = visit("fables", text="The fox", max_tokens=30)
    assert page.locator("#undo").is_disabled()
    page.click("#write")
    at_rest(page)
    first = written(page)
    page.click("#again")
    at_rest(page)
    second = written(page)
    assert len(first) == len(second) == 37
    assert first != second
    page.click("#undo")
    at_rest(page)
    assert written(page) == first
    page.click("#undo")
    at_rest(page)
    assert written(page) == "The fox"
    assert page.locator("#undo").is_disabled()


def test_two_models_write_side_by_side_and_one_is_continued(visit):
    page = visit("fables", "words", text="The", max_tokens=25)
    page.click("#write")
    at_rest(page)
    assert written(page) == "The"
    expect(page.locator("#status")).to_have_text("Choose which text to continue.")
    for name in ("fables", "words"):
        expect(page.locator("article", has_text=name).locator(".generated")).to_have_count(25)
    whole = "".join(texts(page, "words"))
    page.locator("article", has_text="words").get_by_role("button", name="Continue with this").click()
    at_rest(page)
    assert written(page) == whole
    choice(page, "fables").uncheck()
    expect(page.locator("article h2")).to_have_text(["words"])
    choice(page, "subwords").check()
    expect(page.locator("article h2")).to_have_text(["words", "subwords"])


@pytest.mark.parametrize("name", ["fables", "words"])
def test_what_was_typed_is_scored(visit, served, name):
    page = visit(name)
    page.fill("#text", "The fox saw the hen.")
    page.click("#score")
    at_rest(page)
    score = charnn.load(served.models[name]).score("The fox saw the hen.", eos=False)
    bits = sum(token.surprisal_bits for token in score.tokens)
    totals = f"{len(score.tokens)} tokens · {bits:.1f} bits · {bits / 20:.2f} bits per character"
    expect(page.locator("article .totals")).to_have_text(totals)
    assert written(page) == "The fox saw the hen."
    expect(page.locator(".generated")).to_have_count(0)


def test_a_long_text_is_scored(visit):
    page = visit("fables")
    page.fill("#text", "The fox saw the hen. " * 1000)
    page.click("#score")
    expect(page.locator("article .totals")).to_contain_text("21000 tokens", timeout=30_000)
    at_rest(page)
    assert page.locator(".tokens").get_attribute("dir") == "ltr"


def test_right_to_left_text_runs_from_right_to_left(visit):
    page = visit("hebrew", text="שועל רעב", max_tokens=20)
    page.click("#write")
    at_rest(page)
    assert written(page).startswith("שועל רעב")
    assert "".join(texts(page)) == written(page)
    for selector in ("#text", ".tokens"):
        assert page.locator(selector).evaluate("(each) => getComputedStyle(each).direction") == "rtl"
    first, second = (tokens(page).nth(index).bounding_box() for index in (0, 1))
    assert first["x"] > second["x"]
    tokens(page).first.focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.textContent") == "ו"


def test_the_address_has_the_state(visit):
    page = visit("fables", text="The fox", max_tokens=10)
    page.fill("#temperature", "1.2")
    choice(page, "words").check()
    page.click("#write")
    at_rest(page)
    page.locator("article", has_text="fables").get_by_role("button").first.click()
    at_rest(page)
    kept, address = written(page), page.url
    again = visit()
    again.goto(address)
    expect(again.locator("article h2")).to_have_text(["fables", "words"])
    at_rest(again)
    assert written(again) == kept
    assert again.locator("#temperature").input_value() == "1.2"
    assert again.locator("#max_tokens").input_value() == "10"
    again.evaluate("location.hash = '#text=A&model=words'")
    expect(again.locator("article h2")).to_have_text(["words"])
    assert written(again) == "A"


@pytest.mark.parametrize("name", ["fables", "words"])
def test_unknown_tokens_stay_as_they_were_typed(visit, name):
    prompt = "The 慶 wrote it, Quixote"
    page = visit(name, text=prompt, max_tokens=5)
    assert "".join(texts(page)) == prompt
    page.click("#write")
    at_rest(page)
    assert written(page).startswith(prompt)
    assert "".join(texts(page)) == written(page)
    last = tokens(page).last
    before = written(page).removesuffix(last.text_content())
    last.click()
    alternatives(page).locator("button").first.click()
    until(lambda: len(texts(page)) > len(prompt.split()) and written(page).startswith(before))
    at_rest(page)
    assert "<unk>" not in written(page)


def test_the_most_probable_text_is_written_at_temperature_0(visit, served):
    page = visit("fables", text="The fox", max_tokens=30)
    page.fill("#temperature", "0")
    page.fill("#top_p", "0.9")
    page.click("#write")
    at_rest(page)
    expected = charnn.load(served.models["fables"]).sample("The fox", length=30, greedy=True).text
    assert written(page) == "The fox" + expected


def test_tokens_of_an_edited_text_are_stale_and_an_edit_is_not_lost(visit):
    page = visit("fables", text="The fox saw.")
    expect(page.get_by_role("button", name="Continue with this")).to_be_disabled()
    page.locator("#text").press("End")
    page.keyboard.type(" And the hen")
    tokens(page).nth(3).click()
    alternatives(page).locator("button").first.click()
    expect(page.locator("#status.error")).to_have_text("The text was edited since; score it to see its tokens.")
    assert written(page) == "The fox saw. And the hen"
    page.click("#score")
    at_rest(page)
    assert "".join(texts(page)) == "The fox saw. And the hen"
    tokens(page).nth(3).click()
    alternatives(page).locator("button").first.click()
    at_rest(page)
    assert written(page).startswith("The")


def test_the_end_of_a_line_can_be_pointed_at(visit):
    page = visit("fables", text="The fox\nran")
    assert texts(page)[7] == "\n"
    assert tokens(page).nth(7).bounding_box()["width"] > 4
    tokens(page).nth(7).hover(position={"x": 3, "y": 8})
    expect(alternatives(page)).to_contain_text("line end")


def test_errors_are_told_and_nothing_is_lost(visit):
    page = visit("fables", text="The", max_tokens=0)
    page.click("#write")
    expect(page.locator("#status.error")).to_have_text("Tokens: must be a whole number from 1 to 10000.")
    page.fill("#max_tokens", "1.5")
    page.click("#write")
    expect(page.locator("#status.error")).to_have_text("Tokens: must be a whole number from 1 to 10000.")
    choice(page, "fables").uncheck()
    assert page.locator("#write").is_disabled()


def test_a_server_with_a_key_asks_for_it(visit, served):
    models = ServedModels([served.models["fables"]], max_waiting=10)
    with contextlib.closing(models), running(make_application(models, Access(key="secret"))) as own:
        page = visit(address=f"http://127.0.0.1:{own.port}", allowed=["401 (Unauthorized)"])
        expect(page.locator("#status.error")).to_have_text("Enter the API key of this server.")
        assert page.locator("#write").is_disabled()
        page.fill("#key", "secret")
        page.keyboard.press("Tab")
        expect(page.locator("article h2")).to_have_text(["fables"])
        page.fill("#text", "The")
        page.click("#score")
        expect(page.locator(".token")).to_have_count(3)
        assert "secret" not in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_is_accessible_and_fits_the_window(visit, width, scheme):
    names = ["fables", "words", "hebrew"]
    page = visit(
        *names, text="The fox " + "x" * 300, max_tokens=8, window={"width": width, "height": 900}, scheme=scheme
    )
    tokens(page).nth(3).click()
    expect(alternatives(page)).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    lightness = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(lightness.strip("rgb()").split(",")[0]) > 128) == (scheme == "light")
