"""The page of a study in English and Arabic: by the browser's language, by the switch; each text in its direction."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.evaluation.human import PAIR_CRITERIA
from dialogpt.evaluation.human.store import Store
from dialogpt.evaluation.human.study import QUESTIONS

pytest.importorskip("fastapi", reason="the extra `server` is not installed")
pytestmark = pytest.mark.browser

Open = Callable[..., Any]
TEXTS = """async () => [(await import("./texts-en.js")).ENGLISH, (await import("./texts-ar.js")).ARABIC]"""

# WCAG's contrast of an element's text with its background, both opaque.
CONTRAST = """id => {
  const { color, backgroundColor, opacity } = getComputedStyle(document.getElementById(id));
  const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0.05);
  const [least, most] = [light(color), light(backgroundColor)].sort((a, b) => a - b);
  return opacity === "1" ? most / least : 0;
}"""


def language(page: Any) -> list[str]:
    return list(page.evaluate("[document.documentElement.lang, document.documentElement.dir]"))


def begin(page: Any, name: str) -> None:
    page.locator("#name").fill(name)
    page.locator("button.main").click()
    page.locator("#item").wait_for()


def test_an_arabic_browser_gets_an_arabic_page_and_its_keys(
    serve: Open, open_page: Open, tmp_path: Path, systems: tuple[Path, Path]
) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--check-every", 0, "--items", 1, "--seed", 2)
    page = open_page(served.url, locale="ar-EG")
    assert (language(page), page.title()) == (["ar", "rtl"], "تقييم الردود")
    assert page.locator("label[for=name]").inner_text() == "اسمك، أو أي اسم تختاره"
    begin(page, "سلمى")
    assert page.locator("#progress").inner_text() == "1 من 1"
    assert page.locator("legend").first.inner_text().startswith("أيّ الردّين أوثق صلةً بالمحادثة؟")
    first, second = (card.bounding_box()["x"] for card in page.locator(".reply").all())
    assert first > second, "the first reply is where reading begins"
    for key in ("٣", "۲", "أ", "ب", "ت"):  # of Arabic and Persian keyboards; two are answered anew
        page.evaluate(
            "key => document.dispatchEvent(new KeyboardEvent('keydown', { key, code: '', bubbles: true }))", key
        )
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="شكرًا لك!").wait_for()
    with Store.open(study) as store:
        assert [-each.value if each.swapped else each.value for each in store.judgements()] == [-1, 0, 1]


def test_the_language_is_switched_in_the_middle_and_kept(one_server: tuple[str, str], open_page: Open) -> None:
    page = open_page(one_server[0], locale="en-GB")
    begin(page, "Switch")
    page.keyboard.press("b")
    page.locator("#language").focus()
    page.keyboard.press("Enter")
    assert language(page) == ["ar", "rtl"]
    assert page.evaluate("document.activeElement.id") == "language"
    assert page.locator("#language").get_attribute("lang") == "en"
    assert page.locator("input:checked").count() == 1, "what was chosen is chosen still"
    for text in page.locator(".turn, .reply p:not(.none)").all():
        arabic = any("\u0600" <= letter <= "\u06ff" for letter in text.inner_text())
        assert text.evaluate("node => getComputedStyle(node).direction") == ("rtl" if arabic else "ltr")
    page.goto(f"{one_server[0]}j/nobody")
    assert language(page) == ["ar", "rtl"]
    page.get_by_role("heading", name="لا شيء هنا").wait_for()
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="Nothing here").wait_for()


def test_what_goes_wrong_is_told_in_arabic(one_server: tuple[str, str], open_page: Open) -> None:
    page = open_page(one_server[0], locale="ar")
    for name, told in (("Ann", "يوجد محكّم بهذا الاسم."), (" ", "يتكوّن الاسم من 1 إلى 80 حرفًا.")):
        page.locator("#name").fill(name)
        page.locator("button.main").click()
        page.get_by_text(told).wait_for()
    page.locator("#language").click()
    page.get_by_text("A name has 1 to 80 letters.").wait_for()


def test_the_languages_say_the_same_things(one_server: tuple[str, str], open_page: Open) -> None:
    english, arabic = open_page(one_server[0]).evaluate(TEXTS)
    asked = {f"{how} {name}" for name in PAIR_CRITERIA for how in ("ask", "rate", "means")}
    assert set(QUESTIONS) == set(PAIR_CRITERIA)
    assert set(arabic) == set(english) | asked
    for key, text in english.items():
        names = set(re.findall(r"\{\w+\}", str(text)))
        assert set(re.findall(r"\{\w+\}", str(arabic[key]))) == names, key
        if isinstance(text, dict):
            assert sorted(arabic[key]) == ["few", "many", "one", "other", "two", "zero"], key


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_can_be_read_before_all_is_answered(one_server: tuple[str, str], open_page: Open, scheme: str) -> None:
    page = open_page(one_server[0], color_scheme=scheme)
    begin(page, f"Contrast {scheme}")
    assert page.evaluate(CONTRAST, "next") > 4.5, "not all is answered"
    for _ in range(3):
        page.keyboard.press("a")
    assert page.evaluate(CONTRAST, "next") > 4.5
