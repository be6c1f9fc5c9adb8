"""The page of `serve` for those who hear it, work it by keys, or read in two directions; in a real browser."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser
Show = Callable[..., Any]
FOCUSED = "document.activeElement.id"
ARABIC = "مرحبا بك يا صديقي العزيز في هذا المكان الجميل"
ENGLISH = "A rather long title, of which an end is cut"
CUT = """() => {
  const title = document.getElementById("title"), first = document.createRange(), box = title.getBoundingClientRect();
  first.setStart(title.firstChild, 0);
  first.setEnd(title.firstChild, 1);
  const { left, right } = first.getBoundingClientRect();
  return title.scrollWidth > title.clientWidth && box.left - 1 <= left && right <= box.right + 1;
}"""


def test_the_list_takes_the_focus_where_it_lies_over_the_page(show: Show) -> None:
    page = show(viewport={"width": 360, "height": 640})
    page.tab.focus("#open-side")
    page.tab.keyboard.press("Enter")
    assert page.tab.evaluate(FOCUSED) == "close-side"
    page.tab.keyboard.press("Escape")
    assert page.tab.evaluate(FOCUSED) == "open-side"
    page.tab.wait_for_selector("#close-side", state="hidden")


def test_whoever_asks_for_a_reply_by_a_key_goes_on_in_the_field(show: Show) -> None:
    page = show()
    page.tab.route("**/completions", lambda route: route.abort(), times=1)
    page.tab.fill("#input", "hi")
    page.tab.keyboard.press("Enter")
    for name in ("Try again", "Another reply"):
        page.tab.get_by_role("button", name=name).focus()
        page.tab.keyboard.press("Enter")
        assert page.tab.evaluate(FOCUSED) == "input", name
        page.tab.wait_for_selector(".assistant:not(.pending)")
    page.tab.get_by_role("button", name="Another reply").click()  # a finger: no keyboard comes up for it
    assert page.tab.evaluate(FOCUSED) != "input"
    page.tab.wait_for_selector(".assistant:not(.pending)")
    page.expected("ERR_FAILED")


@pytest.mark.parametrize(("locale", "title"), [("en-GB", ARABIC), ("ar", ENGLISH)])
def test_a_title_of_the_other_direction(show: Show, locale: str, title: str) -> None:
    """It begins where it begins, and the sentence around it is the page's."""
    page = show(viewport={"width": 360, "height": 640}, locale=locale)
    page.say(title)
    assert page.tab.evaluate(CUT)
    page.tab.click("#delete")
    text = page.tab.locator("#question p")
    assert title[:20] in text.text_content()
    assert text.evaluate("node => node.matches(':dir(rtl)')") == (locale == "ar")


def test_what_is_said_is_of_no_language_that_the_page_would_know(show: Show) -> None:
    """Else a voice for the page's language reads it, which cannot read Arabic."""
    page = show()
    page.say("مرحبا")
    page.tab.click(".toggle")
    said = page.tab.locator(".message > .text, .hypotheses .text, #said, #title, .name")
    assert said.count() == 6
    assert {node.get_attribute("lang") for node in said.all()} == {""}
    assert page.tab.locator("html").get_attribute("lang") == "en"


def test_a_reply_is_told_once_it_is_there(show: Show) -> None:
    """Also one that is said again; not one of another conversation."""
    page = show()
    page.settings(stream=False)
    page.tab.evaluate(
        """() => {
          window.told = [];
          const said = document.getElementById("said");
          new MutationObserver(() => told.push(said.textContent)).observe(said, { childList: true });
        }"""
    )
    choice = {"message": {"role": "assistant", "content": "I see."}, "finish_reason": "stop"}
    page.tab.route("**/completions", lambda route: route.fulfill(json={"choices": [choice]}))
    for times in (1, 2):
        page.say("hi")
        page.until(f"told.filter(text => text === 'I see.').length === {times}")
    assert page.tab.evaluate("told") == ["I see.", "", "I see."]
    held: list[Any] = []
    page.tab.route("**/completions", lambda route: held.append(route))
    page.tab.fill("#input", "and now?")
    page.tab.press("#input", "Enter")
    page.tab.wait_for_selector(".pending")
    page.tab.click("#new")
    held.pop().fulfill(json={"choices": [choice]})
    page.until("Object.values(localStorage).some(kept => kept.split('I see.').length === 4)")
    page.tab.wait_for_timeout(100)
    assert len(page.tab.evaluate("told")) == 3


def test_a_key_that_ends_a_composition_does_not_stop_a_reply(
    show: Show, page_server: tuple[str, Any], slowed: Any
) -> None:
    page = show()
    slowed(page_server[1].engine, 0.15)
    page.tab.fill("#input", "hi")
    page.tab.press("#input", "Enter")
    page.tab.evaluate(
        """() => document.getElementById("input").dispatchEvent(
          new KeyboardEvent("keydown", { key: "Escape", isComposing: true, bubbles: true }))"""
    )
    page.tab.wait_for_selector(".assistant:not(.pending)")
    assert page.tab.locator(".note", has_text="Stopped").count() == 0


def test_a_conversation_that_is_more_than_a_request_may_be(
    show: Show, serve_page: Callable[..., tuple[str, Any]]
) -> None:
    page = show(serve_page(max_body=2000)[0])
    texts = [f"{number} " + "word " * 100 for number in range(8)]
    turns = ", ".join(f'{{"text": "{text}"}}' for text in texts)
    page.tab.set_input_files(
        "#file", {"name": "a.jsonl", "mimeType": "text/plain", "buffer": f'{{"turns": [{turns}]}}'.encode()}
    )
    page.say("and now?")
    said = [[message["content"] for message in body["messages"]] for body in page.bodies]
    assert said == [[*texts, "and now?"], [*texts[5:], "and now?"]]
    assert page.texts[:-1] == [*texts, "and now?"]
    page.tab.fill("#input", "x" * 3000)
    page.tab.press("#input", "Enter")
    page.tab.get_by_role("alert").wait_for()
    assert "larger than 2,000 bytes" in page.tab.get_by_role("alert").text_content()
    page.say("shorter")
    assert page.bodies[-1]["messages"] == [{"role": "user", "content": "shorter"}]
    page.expected("413")


def corner(tab: Any, node: Any) -> bytes:
    """A picture of some pixels in a corner of it, where no text is."""
    box = node.bounding_box()
    picture: bytes = tab.screenshot(clip={"x": box["x"] + 8, "y": box["y"] + 8, "width": 2, "height": 2})
    return picture


def test_what_is_chosen_is_seen_where_the_system_chooses_the_colours(show: Show) -> None:
    page = show(forced_colors="active")
    page.say("one")
    page.tab.click("#new")
    page.say("two")
    opened, other = (corner(page.tab, button) for button in page.tab.locator("#conversations button").all())
    assert opened != other


@pytest.mark.parametrize(("locale", "name"), [("en-GB", "Your message"), ("ar", "رسالتك")])
def test_landmarks_and_headings_have_names(show: Show, locale: str, name: str) -> None:
    page = show(locale=locale)
    assert page.tab.get_by_role("form", name=name).get_by_role("textbox").count() == 1
    assert page.tab.get_by_role("heading", level=2).count() == 1, "the welcome's, below the page's own"
    for heading in page.tab.get_by_role("heading").all():
        assert heading.inner_text(), "a conversation without a title has no heading"
    page.say("hello there")
    page.tab.get_by_role("heading", name="hello there").wait_for()
