"""The page of `serve`: what it keeps in the browser, and what it does when something is refused or goes wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.session import Turn, read_sessions

pytestmark = pytest.mark.browser
Show = Callable[..., Any]
ENTRY, ASIDE = "dialogpt:conversation:", "dialogpt:aside:"


@pytest.fixture(scope="module")
def closed_server(serve_page: Callable[..., tuple[str, Any]]) -> str:
    """A server that asks for a key, and has no backward model."""
    return serve_page(api_key="s3cret")[0]


def saved(page: Any, button: str, folder: Path) -> Path:
    """The file that a button hands over."""
    with page.tab.expect_download() as download:
        page.tab.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_conversations_are_kept_apart(show: Show) -> None:
    page = show()
    page.say("apples")
    apples = page.texts
    page.tab.click("#new")
    assert page.texts == []
    page.say("pears are a fruit that I have never been able to eat in time")
    assert page.titles == ["pears are a fruit that I have never…", "apples"]
    page.tab.click("nav >> text=apples")
    assert page.texts == apples
    page.tab.go_back()
    page.until("document.querySelector('.text')?.textContent.startsWith('pears')")
    page.tab.go_forward()
    page.until("document.querySelector('.text')?.textContent === 'apples'")
    page.tab.click("#rename")
    page.tab.fill("#answer", "Äpfel و تفاح")
    page.tab.keyboard.press("Enter")
    assert "Äpfel و تفاح" in page.titles
    page.tab.click("#delete")
    page.tab.click("#question >> text=Cancel")
    assert len(page.titles) == 2
    page.tab.click("#delete")
    page.tab.click("#question >> text=Delete >> nth=-1")
    assert page.titles == ["pears are a fruit that I have never…"]
    assert len(page.stored(ENTRY)) == 1
    assert page.tab.is_visible("#welcome")


@pytest.mark.parametrize("text", ["tell me", "كيف حالك", "I should like to know whether you have ever been to the sea"])
def test_conversations_that_begin_alike_have_numbers(show: Show, text: str) -> None:
    """The number is seen however little room there is, at the end of the title in its own direction."""
    page = show(locale="ar")
    for _ in range(3):
        page.tab.click("#new")
        page.say(text)
    begin = page.titles[2].rstrip("…")
    assert text.startswith(begin)
    assert page.titles == [f"{page.titles[2]} (3)", f"{page.titles[2]} (2)", page.titles[2]]
    assert page.tab.text_content("#title") == page.titles[0]
    places = page.tab.evaluate("""() => [...document.querySelectorAll("#conversations li:first-child *")].map(
        (e) => { const {left, right} = e.getBoundingClientRect(); return [left, right]; })""")
    (button_left, button_right), (name_left, name_right), (left, right) = places
    assert button_left <= left < right <= button_right
    assert right <= name_left if text.startswith("ك") else left >= name_right
    page.tab.click("nav li >> nth=1")
    assert page.tab.title() == f"{page.titles[2]} (2) · DialoGPT"
    page.tab.click("#delete")
    assert "(2)" in str(page.tab.text_content("#question"))
    page.tab.click("#question .danger")
    assert page.titles == [f"{page.titles[1]} (2)", page.titles[1]]


def test_exports_are_sessions_and_come_back(show: Show, tmp_path: Path) -> None:
    page = show()
    page.say('صباح الخير / "quoted": <b>')
    page.say("two\nlines 😀")
    texts = page.texts
    (session,) = read_sessions(saved(page, "#export", tmp_path))
    assert session.turns == tuple(Turn(text, speaker=("user", "bot")[i % 2]) for i, text in enumerate(texts))
    assert session.id
    page.tab.click("#new")
    page.say("hi")
    everything = saved(page, "#export-all", tmp_path)
    assert [len(session.turns) for session in read_sessions(everything)] == [2, 4]
    other = show()
    people = {
        "turns": [{"text": "a", "speaker": "Ann"}, {"text": "b", "speaker": "Bo"}, {"text": "c", "speaker": "Ann"}]
    }
    lines = [*everything.read_text().splitlines(), "{", '{"turns": []}', '{"turns": [{"text": 1}]}', json.dumps(people)]
    file = tmp_path / "more.jsonl"
    file.write_text("\n".join(lines))
    other.tab.set_input_files("#file", file)
    other.tab.wait_for_selector(".notice")
    told = other.tab.text_content(".notice p")
    assert told == "3 conversations were imported. 3 lines are not conversations (lines 3, 4, 5)."
    assert len(other.titles) == 3
    other.tab.click("nav >> text=صباح")
    assert other.texts == texts
    other.tab.locator("nav button").last.click()
    assert other.texts == ["a", "b", "c"]
    assert other.tab.locator(".user > .text").all_text_contents() == ["a", "c"]
    other.say("d")
    assert [message["role"] for message in other.bodies[-1]["messages"]] == ["user", "assistant", "user", "user"]


def test_leaving_during_a_reply_keeps_the_message(show: Show, page_server: tuple[str, Any], slowed: Any) -> None:
    page = show()
    slowed(page_server[1].engine, 0.1)
    page.tab.fill("#input", "hi")
    page.tab.press("#input", "Enter")
    page.tab.wait_for_selector(".dots")
    page.tab.reload()
    assert page.texts == ["hi"]
    page.tab.click("text=Get a reply")
    page.tab.wait_for_selector(".assistant:not(.pending)")
    assert len(page.texts) == 2


def test_two_tabs_do_not_destroy_each_others_conversations(show: Show) -> None:
    one = show()
    one.say("in the first tab")
    two = show(beside=one)
    two.say("in the second tab")
    one.until("document.querySelectorAll('nav li').length === 2")
    two.tab.click("nav >> text=in the first tab")
    two.say("more")
    one.until("document.querySelectorAll('.message').length === 4")
    assert one.texts == two.texts
    held: list[Any] = []
    one.tab.route("**/completions", lambda route: held.append(route))
    one.tab.fill("#input", "while it is being made here")
    one.tab.press("#input", "Enter")
    one.tab.wait_for_selector(".pending")
    three = show(beside=one)
    three.tab.click("nav >> text=in the first tab")
    three.until("document.querySelectorAll('.message').length === 5")
    three.tab.click("text=Get a reply")
    three.tab.wait_for_selector(".message:nth-child(6):not(.pending)")
    held[0].continue_()
    one.tab.wait_for_selector(".message:nth-child(6):not(.pending)")
    one.tab.wait_for_selector("text=continued in another tab")
    kept = [json.loads(text)["messages"] for text in one.stored(ENTRY).values()]
    assert sorted(map(len, kept)) == [2, 6, 6]
    assert three.texts in [[message["text"] for message in messages] for messages in kept]
    assert one.texts in [[message["text"] for message in messages] for messages in kept]


def test_damaged_entries_are_set_aside(show: Show, tmp_path: Path) -> None:
    page = show()
    page.say("hi")
    ((key, good),) = page.stored(ENTRY).items()
    damaged = {
        f"{ENTRY}a": "{",
        f"{ENTRY}b": json.dumps({**json.loads(good), "id": "b", "version": 2}),
        f"{ENTRY}c": json.dumps({**json.loads(good), "id": "c", "messages": [{"role": "user"}]}),
        f"{ENTRY}d": good,
        "dialogpt:settings": "][",
    }
    page.tab.evaluate("entries => Object.entries(entries).forEach(([k, v]) => localStorage.setItem(k, v))", damaged)
    page.tab.reload()
    assert page.titles == ["hi"]
    assert page.stored(ENTRY) == {key: good}
    assert page.stored(ASIDE) == {ASIDE + key: text for key, text in damaged.items()}
    assert "5 stored entries are damaged" in page.tab.text_content(".notice")
    lines = saved(page, "text=Save as a file", tmp_path).read_text().splitlines()
    assert {entry["key"]: entry["value"] for entry in map(json.loads, lines)} == damaged
    mended = json.dumps({**json.loads(good), "id": "b", "title": "mended"})
    page.tab.evaluate("([k, v]) => localStorage.setItem(k, v)", [f"{ASIDE}{ENTRY}b", mended])
    page.tab.reload()
    assert "mended" in page.titles
    assert len(page.stored(ASIDE)) == 4


def test_full_or_missing_storage_is_told_and_nothing_else_happens(show: Show) -> None:
    page = show()
    page.tab.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') } }"
    )
    page.say("hi")
    page.say("and then?")
    assert len(page.texts) == 4
    assert "storage is full" in page.tab.text_content(".notice")
    assert page.tab.locator(".notice").count() == 1
    assert len(page.titles) == 1
    without = show()
    without.tab.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})")
    without.tab.goto(without.url)
    without.say("hi")
    assert "keep anything" in without.tab.text_content(".notice")
    assert len(without.texts) == 2


def test_a_key_is_asked_for_and_kept(show: Show, closed_server: str) -> None:
    page = show(closed_server)
    dialog = page.tab.get_by_role("dialog", name="The server asks for a key")
    dialog.wait_for()
    page.tab.keyboard.press("Escape")
    page.tab.fill("#input", "hi")
    page.tab.press("#input", "Enter")
    dialog.wait_for()
    assert "kept in this browser" in dialog.text_content()
    page.tab.fill("#answer", "another")
    page.tab.keyboard.press("Enter")
    page.until("document.querySelector('#question[open] input')?.value === ''")
    assert "rejects this key" in dialog.text_content()
    page.tab.keyboard.press("Escape")
    assert "API key" in page.tab.get_by_role("alert").text_content()
    assert page.texts == ["hi"]
    page.tab.click("text=Try again")
    page.tab.wait_for_selector("#question[open] input")
    page.tab.fill("#answer", "s3cret")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector(".assistant:not(.pending)")
    page.tab.reload()
    page.until("document.getElementById('model').textContent === 'tiny'")
    page.say("and then?")
    assert len(page.texts) == 4
    page.expected("401")


def test_mmi_without_a_backward_model_is_explained(show: Show, closed_server: str) -> None:
    """Also where the page has not heard of the server's settings."""
    page = show(closed_server)
    page.tab.evaluate("localStorage.setItem('dialogpt:key', 's3cret')")
    page.tab.route("**/v1/models", lambda route: route.abort())
    page.settings(mmi=True)
    page.tab.fill("#input", "hi")
    page.tab.press("#input", "Enter")
    page.tab.locator(".error[role=alert]").wait_for()
    assert "no backward model" in page.tab.text_content(".error[role=alert]")
    page.tab.click("#open-settings")
    assert page.tab.is_disabled("#setting-mmi")
    assert "no backward model" in page.tab.text_content("#setting-mmi-hint")
    page.tab.keyboard.press("Escape")
    page.tab.click("text=Try again")
    page.tab.wait_for_selector(".assistant:not(.pending)")
    assert page.tab.locator(".error[role=alert]").count() == 0
    page.expected("400", "401", "ERR_FAILED")


def test_a_busy_server_is_asked_again(show: Show) -> None:
    page = show()
    refusals = [{"status": 429, "headers": {"Retry-After": "2"}, "json": {"error": {"message": "busy"}}}]
    page.tab.route("**/completions", lambda r: r.fulfill(**refusals.pop()) if refusals else r.continue_())
    page.tab.fill("#input", "hi")
    page.tab.press("#input", "Enter")
    page.tab.wait_for_selector("text=The server is busy. Trying again in 2 seconds")
    page.tab.wait_for_selector(".assistant:not(.pending)")
    assert len(page.bodies) == 2
    refusals += [{"status": 429, "headers": {"Retry-After": "60"}, "json": {}}]
    page.tab.fill("#input", "again")
    page.tab.press("#input", "Enter")
    page.tab.wait_for_selector("text=The server is busy")
    page.tab.keyboard.press("Escape")
    assert page.tab.locator("text=The server is busy").count() == 0
    page.tab.click("text=Get a reply")
    page.tab.wait_for_selector(".message:nth-child(4):not(.pending)")
    page.expected("429")


PIECE = 'data: {"choices": [{"index": 0, "delta": {"content": "half of"}, "finish_reason": null}]}\n\n'
NOTHING = 'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
WRONG: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "explained": (
        {"status": 400, "json": {"error": {"message": "the last message is empty"}}}, "the last message is empty", [],
    ),
    "a proxy's page": ({"status": 502, "body": "<html>"}, "answered with an error (502)", []),
    "nonsense": ({"status": 200, "body": "data: ][\n\n"}, "cannot be read", []),
    "an empty answer": ({"status": 200, "body": "data: [DONE]\n\n"}, "cannot be read", []),
    "a reply without a word": ({"status": 200, "body": NOTHING}, "said nothing", []),
    "broken off": ({"status": 200, "body": PIECE}, "broke off", ["half of"]),
    "an error in between": (
        {"status": 200, "body": PIECE + 'data: {"error": {"message": "the reply failed"}}\n\n'}, "the reply failed",
        ["half of"],
    ),
}  # fmt: skip


def test_what_goes_wrong_is_told_and_nothing_is_lost(show: Show) -> None:
    page = show()
    wrong: list[dict[str, Any]] = []
    page.tab.route("**/completions", lambda r: r.fulfill(**wrong.pop()) if wrong else r.continue_())
    for name, (answer, told, partial) in WRONG.items():
        page.tab.click("#new")
        wrong.append(answer)
        page.tab.fill("#input", "my text")
        page.tab.press("#input", "Enter")
        page.tab.get_by_role("alert").wait_for()
        assert told in page.tab.get_by_role("alert").text_content(), name
        assert page.texts == ["my text", *partial], name
        page.tab.click("text=Try again")
        page.until("!document.querySelector('[role=alert], .pending')")
        assert len(page.texts) == 2, name
        assert page.tab.locator("text=Broken off").count() == 0, name
    assert len(page.titles) == len(WRONG)
    page.expected("400", "502")


def test_a_server_that_cannot_be_reached(show: Show) -> None:
    page = show()
    page.tab.context.set_offline(True)
    page.tab.fill("#input", "my text")
    page.tab.press("#input", "Enter")
    page.tab.wait_for_selector("text=The server cannot be reached")
    assert page.texts == ["my text"]
    page.tab.context.set_offline(False)
    page.tab.click("text=Try again")
    page.tab.wait_for_selector(".assistant:not(.pending)")
    page.tab.reload()
    assert len(page.texts) == 2
    page.expected("ERR_INTERNET_DISCONNECTED")
