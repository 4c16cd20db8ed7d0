"""Make the README's picture of the page of `charnn serve`: a continued text, and the alternatives of one of its tokens.

python -m tests.clients.screenshot RUN (needs the extra clients and chromium)
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

TARGET = Path(__file__).parent.parent / "screenshots" / "page.png"
WINDOW = {"width": 900, "height": 940}
PROMPT = "They say on the river that"


def main() -> None:
    """Serve a model, and photograph the page."""
    command = [sys.executable, "-m", "charnn", "serve", "-m", sys.argv[1], "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stderr
        address = re.search(r"http://\S+", server.stderr.readline())
        assert address
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW, color_scheme="light")
        page.goto(f"{address[0]}/")
        page.locator("#text").fill(PROMPT)
        page.locator("#temperature").fill("0.7")
        page.locator("#write").click()
        expect(page.locator("#stop")).to_be_disabled(timeout=60_000)
        page.locator("article .token").nth(len(PROMPT) + 1).hover()
        expect(page.locator("#alternatives")).to_be_visible()
        page.screenshot(path=TARGET)
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main()
