"""The page of `serve` in English and Arabic: each text in its own direction, each phrase in both."""

import re
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser


Show = Callable[..., Any]


def direction(page: Any, selector: str) -> str:
    return str(page.tab.evaluate("s => getComputedStyle([...document.querySelectorAll(s)].at(-1)).direction", selector))


def test_text_runs_in_its_own_direction(show: Show) -> None:
    page = show()
    assert page.tab.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["en", "ltr"]
    page.say("صباح الخير")
    assert direction(page, ".user .text") == "rtl"
    assert direction(page, "#conversations button") == "rtl"
    page.say("good morning")
    assert direction(page, ".user .text") == "ltr"
    page.tab.fill("#input", "مرحبا")
    assert direction(page, "#input") == "rtl"
    page.tab.fill("#input", "")
    page.tab.click("#open-settings")
    page.tab.select_option("#setting-language", "ar")
    page.tab.keyboard.press("Escape")
    assert page.tab.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["ar", "rtl"]
    assert page.tab.get_attribute("#send", "aria-label") == "إرسال"
    assert direction(page, ".user .text") == "ltr"
    left = "document.getElementById('side').getBoundingClientRect().left"
    assert page.tab.evaluate(f"{left} > innerWidth / 2"), "the list is on the right"


def test_an_arabic_browser_gets_an_arabic_page(show: Show) -> None:
    page = show(locale="ar-EG")
    assert page.tab.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["ar", "rtl"]
    assert page.tab.text_content("#welcome h2") == "قل شيئًا"


def test_the_languages_say_the_same_things(show: Show) -> None:
    languages = show().tab.evaluate(
        """async () => [(await import("./texts-en.js")).ENGLISH, (await import("./texts-ar.js")).ARABIC]"""
    )
    english, arabic = languages
    assert sorted(english) == sorted(arabic)
    for key, text in english.items():
        names = set(re.findall(r"\{\w+\}", str(text)))
        assert set(re.findall(r"\{\w+\}", str(arabic[key]))) == names, key
        if isinstance(text, dict):
            assert sorted(arabic[key]) == ["few", "many", "one", "other", "two", "zero"], key
