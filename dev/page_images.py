"""Takes the pictures of the page in docs/images, of the bundled model. Needs Chromium and the extras server and test.

python dev/page_images.py [FOLDER]      FOLDER: where they go (docs/images)
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

SERVE = [sys.executable, "-m", "dialogpt", "serve", "--port", "0", "--seed", "2", "--num-hypotheses", "6", "--mmi",
         "--forward-weight", "20"]  # fmt: skip
TALKS = (["Does money buy happiness?"], ["Hi! How was your day?", "I love pizza. What is your favorite food?"])
ARABIC = "صباح الخير، كيف حالك؟"


def main() -> None:
    folder = Path(sys.argv[1] if sys.argv[1:] else "docs/images")
    with subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        try:
            assert server.stderr is not None
            url = next(found[0] for line in server.stderr if (found := re.search(r"http://[\d.:]+", line)))
            take(driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]), url, folder)
        finally:
            server.terminate()


def take(chromium: Any, url: str, folder: Path) -> None:
    page = chromium.new_page(viewport={"width": 1120, "height": 760}, locale="en-GB")
    page.goto(url)
    for place, texts in enumerate(TALKS):
        if place:
            page.click("text=New conversation")
        for text in texts:
            say(page, text)
    show_hypotheses(page)
    page.screenshot(path=folder / "page.png")
    kept = page.context.storage_state()
    phone = chromium.new_page(
        viewport={"width": 360, "height": 720}, device_scale_factor=1.5, has_touch=True, storage_state=kept,
        locale="en-GB",
    )  # fmt: skip
    phone.goto(page.url)
    show_hypotheses(phone)
    phone.locator("#messages").evaluate("messages => messages.scrollTo(0, 0)")
    phone.screenshot(path=folder / "page-narrow.png")
    arabic = chromium.new_page(
        viewport={"width": 900, "height": 640}, color_scheme="dark", storage_state=kept, locale="ar"
    )
    arabic.goto(url)
    say(arabic, ARABIC)
    say(arabic, "I like music. What about you?")
    arabic.screenshot(path=folder / "page-arabic.png")


def show_hypotheses(page: Any) -> None:
    """Those of the last reply, and wait until nothing moves any more."""
    page.click("text=6 hypotheses >> nth=-1")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)


def say(page: Any, text: str) -> None:
    before = page.locator(".assistant:not(.pending)").count()
    page.fill("#input", text)
    page.press("#input", "Enter")
    page.locator(".assistant:not(.pending)").nth(before).wait_for()


if __name__ == "__main__":
    main()
