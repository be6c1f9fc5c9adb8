"""The page of `serve`: a conversation, its replies and what they were chosen from, in a real browser."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dialogpt.decoding.safety import HELP, HELP_AR, POLITE, default_guards

pytestmark = pytest.mark.browser
Show = Callable[..., Any]
MARKUP = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> & <b>bold</b>"


def answered(text: str, **more: Any) -> dict[str, Any]:
    """A server's whole answer, for `route.fulfill(json=...)`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"choices": [choice], **more}


def hypothesis(text: str, forward: float = -1.0, rejected: str | None = None, **scores: float) -> dict[str, Any]:
    return {"text": text, "forward": forward, "tokens": 3, "ended": True, "scores": scores, "rejected": rejected}


def test_a_conversation_of_several_turns_outlives_a_reload(show: Show) -> None:
    page = show()
    page.until("document.getElementById('model').textContent === 'tiny'")
    said = ["does money buy happiness?", "are you sure? 😀👍🏽", "two\nlines"]
    replies = [page.say(text) for text in said]
    turns = [text for pair in zip(said, replies, strict=True) for text in pair]
    assert page.texts == turns
    roles = ["user", "assistant", "user", "assistant", "user"]
    assert page.bodies[-1]["messages"] == [
        {"role": role, "content": text} for role, text in zip(roles, turns, strict=False)
    ]
    assert page.titles == ["does money buy happiness?"]
    assert page.tab.title().startswith("does money")
    page.tab.reload()
    assert page.texts == turns
    page.say("hi")
    assert page.texts[:6] == turns
    assert len(page.texts) == 8


def test_stopping_keeps_what_there_is_of_a_reply(show: Show, page_server: tuple[str, Any], slowed: Any) -> None:
    url, batcher = page_server
    asked = {"messages": [{"role": "user", "content": "hi"}], "safety": False, "mmi": False, "max_tokens": 40}
    for seed in range(50):
        body = {**asked, "seed": seed, "temperature": 1.5}
        whole = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30).json()["choices"][0]["message"][
            "content"
        ]
        if len(whole) > 25:
            break
    page = show()
    page.settings(safety=False, mmi=False, max_tokens=40, seed=seed, temperature=1.5)
    slowed(batcher.engine, 0.15)
    page.tab.fill("#input", "hi")
    page.tab.click("#send")
    page.until("document.querySelector('.pending .text')?.textContent.length > 2")
    assert page.tab.is_visible("#stop")
    assert page.tab.is_hidden("#send")
    page.tab.press("#input", "Escape")
    partial = page.texts[1]
    until = time.monotonic() + 10
    while batcher.rows:
        assert time.monotonic() < until, "the server goes on for nobody"
        time.sleep(0.02)
    assert 2 < len(partial) < len(whole)
    assert whole.startswith(partial.strip())
    assert page.tab.locator(".note").text_content() == "Stopped here."
    assert page.tab.is_visible("#send")
    page.tab.reload()
    assert page.texts == ["hi", partial]


def test_another_reply_takes_the_place_of_the_last(show: Show) -> None:
    page = show()
    page.settings(seed=7)
    first = [page.say("hi"), page.say("and then?")][0]
    for draw in (1, 2):
        page.tab.click(".again:visible")
        page.tab.wait_for_selector(".pending", state="detached")
        assert page.bodies[-1]["seed"] == 7 + draw
        assert page.bodies[-1]["messages"] == page.bodies[1]["messages"]
        assert len(page.texts) == 4
        assert page.texts[1] == first
    assert page.tab.locator(".again:visible").count() == 1


def test_an_edited_message_cuts_what_follows_and_keeps_it_elsewhere(show: Show) -> None:
    page = show()
    page.say("first")
    page.say("second")
    before = page.texts
    page.tab.locator(".user").first.hover()
    page.tab.get_by_role("button", name="Edit").first.click()
    page.tab.keyboard.press("Control+A")
    page.tab.keyboard.type("another first")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector(".message:nth-child(2):not(.pending)")
    assert page.texts[0] == "another first"
    assert len(page.texts) == 2
    assert page.bodies[-1]["messages"] == [{"role": "user", "content": "another first"}]
    assert page.titles == ["another first", "first (before the edit)"]
    page.tab.click("text=first (before the edit)")
    assert page.texts == before
    page.tab.press("#input", "ArrowUp")
    assert page.tab.evaluate("document.activeElement.value") == "second"
    page.tab.keyboard.press("Escape")
    assert page.texts == before
    assert page.tab.evaluate("document.activeElement.title") == "Edit"


def test_hypotheses_and_why_one_won(show: Show) -> None:
    page = show()
    page.settings(mmi=True, num_hypotheses=6)
    reply = page.say("does money buy happiness?")
    assert page.bodies[-1]["hypotheses"] is True
    page.tab.click("text=6 hypotheses")
    table = page.tab.get_by_role("table", name="Hypotheses, best first")
    heads = [head.text_content() for head in table.get_by_role("columnheader").all()]
    assert heads == ["#", "Reply", "Forward", "Backward", "Tokens"]
    rows = page.tab.locator("tbody tr")
    assert rows.count() == 6
    assert rows.first.locator(".text").text_content() == reply
    assert rows.first.locator(".badge").text_content() == "chosen"
    left = page.tab.locator("tbody tr:not(.rejected)")
    backward = [float(text) for text in left.locator(".backward").all_text_contents()]
    assert backward == sorted(backward, reverse=True)
    assert all(float(text) < 0 for text in rows.locator(".forward").all_text_contents())
    if left.count() > 1:
        assert "the backward model finds your message likeliest" in page.tab.text_content(".why")
    page.tab.reload()
    page.tab.click("text=6 hypotheses")
    assert page.tab.locator("tbody tr").count() == 6


BLOCKED, AGREED = "listed phrase: x", "agrees with an offence"
WHY: dict[str, tuple[list[dict[str, Any]], str]] = {
    "one": ([hypothesis("a")], "The only one that was drawn."),
    "several": ([hypothesis("a"), hypothesis("b")], "The first of 2 drawn: without MMI nothing ranks them."),
    "MMI": (
        [hypothesis("a", mmi=-1.0), hypothesis("b", mmi=-2.0)],
        "Chosen from 2: given this reply, the backward model finds your message likeliest.",
    ),
    "both models": (
        [{**hypothesis("a"), "scores": {"mmi": -2.0, "forward a token": -0.5}}, hypothesis("b", mmi=-1.0)],
        "Chosen from 2: the forward and backward models together rank it first.",
    ),
    "distress": (
        [hypothesis("a", rejected="distress: want to die")],
        "All were rejected, so a fixed line was said. 1 was rejected: somebody may be in danger.",
    ),
    "one is left": (
        [hypothesis("a", mmi=-1.0), hypothesis("b", rejected=BLOCKED)],
        "The only one of 2 that was not rejected. 1 was rejected: listed phrase.",
    ),
    "some are left": (
        [hypothesis("a"), hypothesis("b"), hypothesis("c", rejected=BLOCKED), hypothesis("d", rejected=AGREED)],
        "The first of 4 that was not rejected: without MMI nothing ranks them."
        " 2 were rejected: listed phrase, agrees with an offence.",
    ),
    "a guard of one's own": (
        [hypothesis("a"), hypothesis("b", rejected="rude: 0.9")],
        "The only one of 2 that was not rejected. 1 was rejected: rude.",
    ),
    "none": (
        [hypothesis("a", rejected=BLOCKED)],
        "All were rejected, so a fixed line was said. 1 was rejected: listed phrase.",
    ),
}


def test_the_sentence_that_says_why(show: Show) -> None:
    page = show()
    for name, (hypotheses, sentence) in WHY.items():
        told = page.tab.evaluate("async all => (await import('./hypotheses.js')).why(all)", hypotheses)
        assert told == sentence, name


def test_what_is_not_said_is_shown_with_its_reason(show: Show, page_server: tuple[str, Any]) -> None:
    page, batcher = show(), page_server[1]
    guards, batcher.guards = batcher.guards, [lambda context, text: "listed phrase: ✗"]
    try:
        assert page.say("hi") == POLITE
    finally:
        batcher.guards = guards
    assert "safe to say" in page.tab.text_content(".note")
    page.tab.click(".toggle")
    assert "All were rejected" in page.tab.text_content(".why")
    assert page.tab.locator(".badge.out").first.text_content() == "rejected: listed phrase: ✗"


@pytest.mark.parametrize("said", ["I want to end it all", "أريد أن أموت"])
def test_under_the_line_for_somebody_in_danger_is_no_word_about_drawing(
    show: Show, page_server: tuple[str, Any], said: str
) -> None:
    page, batcher = show(), page_server[1]
    guards, batcher.guards = batcher.guards, default_guards()
    try:
        assert page.say(said) in (HELP, HELP_AR)
    finally:
        batcher.guards = guards
    assert page.tab.locator(".note").count() == 0
    page.tab.reload()
    assert page.tab.locator(".message").count() == 2
    assert page.tab.locator(".note").count() == 0


def test_settings_reach_the_request_and_stay(show: Show) -> None:
    page = show()
    page.tab.click("#open-settings")
    assert page.tab.get_by_role("dialog", name="Settings").is_visible()
    values = {"temperature": 1.2, "top_p": 0.8, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1,
              "max_tokens": 9, "seed": 4, "num_hypotheses": 2}  # fmt: skip
    for name, value in values.items():
        page.tab.fill(f"#setting-{name}", str(value))
    page.tab.select_option("#setting-mmi", "true")
    page.tab.select_option("#setting-safety", "false")
    page.tab.select_option("#setting-stream", "false")
    page.tab.select_option("#setting-theme", "dark")
    page.tab.keyboard.press("Escape")
    assert page.tab.evaluate("document.activeElement.id") == "open-settings"
    ground = page.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60
    page.say("hi")
    sent = {**values, "mmi": True, "safety": False, "stream": False, "hypotheses": True}
    assert page.bodies[-1] == {**sent, "messages": [{"role": "user", "content": "hi"}]}
    page.tab.reload()
    page.say("hi")
    assert {name: page.bodies[-1][name] for name in sent} == sent
    page.tab.click("#open-settings")
    for wrong in ("7", "-1"):
        page.tab.fill("#setting-temperature", wrong)
        assert page.tab.get_attribute("#setting-temperature", "aria-invalid") == "true"
    assert json.loads(page.stored()["dialogpt:settings"])["temperature"] == 1.2
    page.tab.click("text=Reset to defaults")
    page.tab.click("text=Close")
    page.say("hi")
    assert sorted(page.bodies[-1]) == ["hypotheses", "messages", "stream"]


def test_markup_is_text(show: Show) -> None:
    page = show()
    page.settings(stream=False)
    told = answered(MARKUP, hypotheses=[hypothesis(MARKUP), hypothesis(MARKUP, rejected=MARKUP)])
    page.tab.route("**/completions", lambda route: route.fulfill(json=told))
    assert page.say(MARKUP) == MARKUP
    page.tab.click(".toggle")
    page.tab.click("#rename")
    page.tab.fill("#answer", MARKUP)
    page.tab.keyboard.press("Enter")
    page.tab.reload()
    assert page.texts == [MARKUP, MARKUP]
    assert page.titles == [MARKUP]
    assert page.tab.evaluate("window.hacked") is None
    assert page.tab.locator("ol img, ol script, nav img, ol b").count() == 0


def test_a_narrow_screen_needs_no_scrolling_sideways(show: Show) -> None:
    page = show(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    page.settings(mmi=True, num_hypotheses=4)
    wide = "() => Math.max(...[...document.querySelectorAll('.talk *, dialog[open] *')]" \
           ".filter(e => !e.closest('.unseen, thead, h2') && e.getClientRects().length)" \
           ".map(e => e.getBoundingClientRect().right))"  # fmt: skip
    assert page.tab.evaluate(wide) <= 360
    page.say("a" * 300)
    page.say("ه" * 300)
    page.tab.locator(".toggle").last.tap()
    assert page.tab.evaluate(wide) <= 360
    assert page.tab.evaluate("document.scrollingElement.scrollWidth") <= 360
    page.tab.tap("#open-settings")
    assert page.tab.evaluate(wide) <= 360
    page.tab.tap("text=Close")
    assert page.tab.is_hidden("#new")
    page.tab.tap("#open-side")
    page.tab.tap("#new")
    assert page.tab.is_visible("#welcome")
    page.tab.wait_for_selector("#new", state="hidden")


NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea, dialog, img")]
  .filter(e => e.checkVisibility() && !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length ||
    e.hasAttribute("alt") || e.getAttribute("aria-labelledby")))
  .map(e => e.outerHTML)"""


def test_it_can_be_used_without_eyes_or_a_mouse(show: Show) -> None:
    page = show()
    assert page.tab.evaluate("document.activeElement.id") == "input"
    for role, name in (("textbox", "Your message"), ("button", "Send"), ("button", "Settings"),
                       ("navigation", "Conversations"), ("list", "Messages")):  # fmt: skip
        assert page.tab.get_by_role(role, name=name).count() == 1, (role, name)
    assert page.tab.get_by_role("main").count() == 1
    assert page.tab.is_disabled("#send")
    page.tab.keyboard.type("one")
    page.tab.keyboard.press("Shift+Enter")
    page.tab.keyboard.type("two")
    assert page.tab.input_value("#input") == "one\ntwo"
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector(".assistant:not(.pending)")
    assert page.tab.evaluate("document.activeElement.id") == "input"
    assert page.tab.input_value("#input") == ""
    page.until(f"document.getElementById('said').textContent === {json.dumps(page.texts[-1])}")
    assert page.tab.evaluate(NAMELESS) == []
    page.tab.click("#open-settings")
    assert page.tab.evaluate(NAMELESS) == []
    page.tab.keyboard.press("Escape")
    page.tab.click("#delete")
    assert page.tab.evaluate("document.activeElement.textContent") == "Cancel"
    page.tab.keyboard.press("Enter")
    assert page.tab.evaluate("document.activeElement.id") == "delete"
    assert len(page.texts) == 2
