"""The page of a study in a real browser, headless: mouse, keyboard, reloads, a server that goes away, two judges."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.evaluation.human.store import Store

pytest.importorskip("fastapi", reason="the extra `server` is not installed")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

Open = Callable[..., Any]


def begin(page: Any, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Begin").click()
    page.locator("#item").wait_for()


def progress(page: Any) -> str:
    return str(page.locator("#progress").inner_text())


def reach(page: Any, text: str) -> None:
    api.expect(page.locator("#progress")).to_have_text(text)
    page.wait_for_function("() => !document.querySelector('.sending')")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def values(study: Path) -> dict[str, list[list[int]]]:
    """What each judge said, as it was seen, item by item."""
    with Store.open(study) as store:
        found: dict[str, list[list[int]]] = {}
        for place, each in enumerate(store.judgements()):
            several = found.setdefault(each.judge, [])
            if place % 3 == 0:
                several.append([])
            several[-1].append(-each.value if each.swapped else each.value)
        return found


def test_a_judge_with_mouse_and_keyboard_and_reloads(
    serve: Open, open_page: Open, tmp_path: Path, systems: tuple[Path, Path]
) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--check-every", 0)
    page = open_page(served.url)
    begin(page, "Ann")
    assert page.get_by_role("group").count() >= 3
    assert progress(page) == "1 of 4"
    group = page.get_by_role("group", name="Which reply is more relevant?")
    group.get_by_role("radio", name="A", exact=True).check()
    page.get_by_role("button", name="Next").click()  # two questions are open: it stays
    assert progress(page) == "1 of 4"
    page.reload()
    page.locator("#item").wait_for()
    assert group.get_by_role("radio", name="A", exact=True).is_checked()  # the draft
    for name, choice in (("informative", "Tie"), ("human-like", "B")):
        question = page.get_by_role("group", name=f"Which reply is more {name}?")
        question.get_by_role("radio", name=choice, exact=True).check()
    page.get_by_role("button", name="Next").click()
    reach(page, "2 of 4")
    assert page.evaluate("document.activeElement.id") == "place"
    assert page.locator("input:checked").count() == 0

    press(page, "b", "1", "Digit3", "Enter")  # letters, figures
    reach(page, "3 of 4")
    press(page, "Backspace")
    reach(page, "2 of 4")
    assert page.locator("input:checked").count() == 3
    assert page.locator("#back").is_hidden()  # by one
    press(page, "t", "Tab")
    page.get_by_role("button", name="Next").click()
    reach(page, "3 of 4")
    press(page, "t", "t", "t", "Enter")
    reach(page, "4 of 4")
    press(page, "a", "a", "a", "Enter")
    page.get_by_role("heading", name="Thank you!").wait_for()
    assert values(study) == {"Ann": [[1, 0, -1], [0, 1, -1], [0, 0, 0], [1, 1, 1]]}

    page.get_by_role("button", name="Change the last answer").click()
    page.locator("#item").wait_for()
    press(page, "b")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("heading", name="Thank you!").wait_for()
    assert values(study)["Ann"][-1] == [-1, 1, 1]
    page.reload()
    page.get_by_role("heading", name="Thank you!").wait_for()


def test_an_answer_outlives_the_server(
    serve: Open, open_page: Open, tmp_path: Path, systems: tuple[Path, Path]
) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--check-every", 0)
    page = open_page(served.url)
    begin(page, "Ann")
    press(page, "a", "t", "b")
    served.end(signal.SIGKILL)
    press(page, "Enter")
    api.expect(page.locator("#notice")).to_contain_text("The server does not answer. Your answer is kept here")
    assert values(study) == {}
    serve(study, "--port", served.port)
    reach(page, "2 of 4")
    api.expect(page.locator("#notice")).to_be_empty()
    assert values(study) == {"Ann": [[1, 0, -1]]}


def test_an_answer_outlives_a_page_that_is_closed_before_it_is_sent(
    serve: Open, open_page: Open, tmp_path: Path, systems: tuple[Path, Path]
) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--check-every", 0)
    page = open_page(served.url)
    begin(page, "Ann")
    page.route("**/answers", lambda route: route.abort())
    press(page, "b", "b", "b", "Enter")
    api.expect(page.locator("#notice")).to_contain_text("Your answer is kept here")
    context, link = page.context, page.url
    page.close()
    assert values(study) == {}
    again = context.new_page()
    again.goto(link)
    reach(again, "2 of 4")
    assert values(study) == {"Ann": [[-1, -1, -1]]}


def test_arabic_script_long_words_and_a_phone(
    serve: Open, open_page: Open, tmp_path: Path, systems: tuple[Path, Path]
) -> None:
    served = serve(tmp_path / "study.db", "--hyps", *systems, "--check-every", 0)
    page = open_page(served.url, viewport={"width": 320, "height": 640}, has_touch=True, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    begin(page, "أحمد")
    seen = []
    for _ in range(4):
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        tops = [card.bounding_box()["y"] for card in page.locator(".reply").all()]
        assert tops[0] < tops[1]  # one above the other
        for text in page.locator(".turn, .reply p").all():
            words = text.text_content()
            seen.append(words)
            arabic = any("\u0600" <= letter <= "\u06ff" for letter in words)
            assert text.evaluate("node => getComputedStyle(node).direction") == ("rtl" if arabic else "ltr")
        before = page.locator("#turns").inner_text()
        press(page, "t", "t", "t", "Enter")
        page.wait_for_function(
            "before => document.querySelector('#turns').innerText !== before || document.querySelector('#item').hidden",
            arg=before,
        )
    page.get_by_role("heading", name="Thank you!").wait_for()
    assert any(text.startswith("<script>document.title") for text in seen)
    assert {"الحمد لله بخير وأنت؟ 😀", "хорошо\nи ты?", "(says nothing)", "w" * 400} <= set(seen)
    assert page.title() == "Judging replies"
    assert page.locator("#item script, #item img").count() == 0


def test_what_is_chosen_is_seen_where_the_system_chooses_the_colours(
    one_server: tuple[str, str], open_page: Open
) -> None:
    page = open_page(one_server[0], forced_colors="active")
    begin(page, "Cleo")
    press(page, "a")
    corners = []
    for span in page.locator("fieldset:first-child .choices span").all():
        box = span.bounding_box()
        clip = {"x": box["x"] + 8, "y": box["y"] + 8, "width": 2, "height": 2}  # where no text is
        corners.append(page.screenshot(clip=clip))
    assert corners[0] != corners[1] == corners[2]
    said = page.locator(".turn, .reply p")
    assert {text.get_attribute("lang") for text in said.all()} == {""}  # English is the page's language, not theirs


def test_two_judges_at_once(serve: Open, open_page: Open, tmp_path: Path, systems: tuple[Path, Path]) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--judges", 1, "--check-every", 0)
    ann, bo = open_page(served.url), open_page(served.url)
    begin(ann, "Ann")
    bo.get_by_label("Your name").fill("ann")
    bo.get_by_role("button", name="Begin").click()
    api.expect(bo.locator("#notice")).to_contain_text("Somebody is already judging under this name")
    begin(bo, "Bo")
    assert ann.locator("#turns").inner_text() != bo.locator("#turns").inner_text()
    for page in (ann, bo, ann, bo):
        press(page, "a", "a", "a", "Enter")
        page.wait_for_function("() => !document.querySelector('.sending')")
    for page in (ann, bo):
        page.get_by_role("heading", name="Thank you!").wait_for()
    assert Counter({name: len(several) for name, several in values(study).items()}) == {"Ann": 2, "Bo": 2}


def test_ratings_of_one_reply(serve: Open, open_page: Open, tmp_path: Path, systems: tuple[Path, Path]) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--kind", "ratings", "--criteria", "relevance", "وضوح", "--items", 1)
    page = open_page(served.url)
    begin(page, "Ann")
    assert page.locator(".reply").count() == 1
    assert page.get_by_role("group", name="وضوح").get_by_role("radio").count() == 5
    press(page, "5", "2", "Enter")
    reach(page, "2 of 2")
    press(page, "3", "1", "Enter")
    page.get_by_role("heading", name="Thank you!").wait_for()
    with Store.open(study) as store:
        assert [each.value for each in store.judgements()] == [5, 2, 3, 1]


def test_a_link_of_nobody(one_server: tuple[str, str], open_page: Open) -> None:
    page = open_page(one_server[0])
    for where in ("j/nobody", "nobody", "j/", "some/where/else", "a%2Fb"):
        page.goto(f"{one_server[0]}{where}")
        page.get_by_role("heading", name="Nothing here").wait_for()
        assert page.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") == "16px", "styled"
        page.get_by_role("button", name="العربية").wait_for()


def test_the_page_may_live_in_a_folder_of_another_server(one_server: tuple[str, str], browser: Any) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(20_000)
    inside = "http://proxy.invalid/study/"

    def pass_on(route: Any) -> None:
        assert route.request.url.startswith(inside)
        route.fulfill(response=route.fetch(url=route.request.url.replace(inside, one_server[0])))

    page.route("**/*", pass_on)
    page.goto(inside)
    begin(page, "Kim")
    press(page, "a", "t", "b", "Enter")
    api.expect(page.locator("#progress")).to_contain_text("2 of")
    assert page.url.startswith(f"{inside}j/")
    page.goto(f"{inside}nobody")
    page.get_by_role("button", name="العربية").wait_for()
    page.context.close()
