"""The page and its server's own settings: what is shown where the reader has set nothing."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytestmark = pytest.mark.browser

Show = Callable[..., Any]
DEFAULTS = {"temperature": 0.4, "top_p": 0.8, "top_k": 0, "min_p": 0.01, "repetition_penalty": 1.1, "max_tokens": 9,
            "seed": None, "num_hypotheses": None, "mmi": False, "safety": True, "no_repeat_ngram": 3}  # fmt: skip


def answer_for_models(page: Any, *, mmi: bool) -> None:
    """Have the page hear of a server like this one."""
    card = {"id": "tiny", "dialogpt": {"mmi": mmi, "defaults": DEFAULTS}}
    page.tab.route("**/v1/models", lambda route: route.fulfill(json={"data": [card]}))
    page.tab.reload()
    page.until("document.getElementById('model').textContent === 'tiny'")


def shown(page: Any, name: str) -> Any:
    """What a field or a choice says of the server's own setting."""
    if name in ("mmi", "safety"):
        return page.tab.text_content(f"#setting-{name} option >> nth=0")
    assert page.tab.input_value(f"#setting-{name}") == ""
    return page.tab.get_attribute(f"#setting-{name}", "placeholder")


def test_the_servers_own_settings_are_shown(show: Show) -> None:
    page = show()
    page.until("document.getElementById('model').textContent === 'tiny'")
    page.tab.click("#open-settings")
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed", "num_hypotheses")
    assert [shown(page, name) for name in names] == ["0.6", "0.9", "50", "0", "1", "12", "1", "1"]
    assert [shown(page, name) for name in ("mmi", "safety")] == ["default (on)", "default (on)"]


def test_hypotheses_follow_mmi(show: Show) -> None:
    """Where the server says no number, MMI has its own; a reader who sets MMI sees which."""
    page = show()
    answer_for_models(page, mmi=True)
    page.tab.click("#open-settings")
    assert [shown(page, name) for name in ("num_hypotheses", "seed", "top_k")] == ["1", "default", "0"]
    assert [shown(page, name) for name in ("mmi", "safety")] == ["default (off)", "default (on)"]
    page.tab.select_option("#setting-mmi", "true")
    assert shown(page, "num_hypotheses") == "16"
    page.tab.select_option("#setting-language", "ar")
    assert shown(page, "safety") == "افتراضي (مشغّل)"
    assert shown(page, "num_hypotheses") == "16"
    page.tab.select_option("#setting-mmi", "null")
    assert shown(page, "num_hypotheses") == "1"


def test_numbers_in_the_digits_of_the_reader(show: Show) -> None:
    page = show(locale="ar")
    page.tab.click("#open-settings")
    for written, sent in (("٠٫٧", 0.7), ("۱.۵", 1.5), (" 0.25 ", 0.25), ("٢", 2)):
        page.tab.fill("#setting-temperature", "")
        page.tab.locator("#setting-temperature").press_sequentially(written)
        assert page.tab.get_attribute("#setting-temperature", "aria-invalid") == "false"
        assert json.loads(page.stored()["dialogpt:settings"])["temperature"] == sent
    for wrong in ("0,5", "١٬٠", "٠٫٧٫", "x", "٦"):
        page.tab.fill("#setting-temperature", wrong)
        assert page.tab.get_attribute("#setting-temperature", "aria-invalid") == "true", wrong
    page.tab.fill("#setting-max_tokens", "1,000")
    assert page.tab.get_attribute("#setting-max_tokens", "aria-invalid") == "true"
    assert json.loads(page.stored()["dialogpt:settings"])["temperature"] == 2
    page.tab.fill("#setting-temperature", "")
    assert json.loads(page.stored()["dialogpt:settings"])["temperature"] is None


def test_mmi_is_off_where_there_is_no_backward_model(show: Show) -> None:
    page = show()
    answer_for_models(page, mmi=False)
    page.settings(mmi=True)
    page.until("document.getElementById('model').textContent === 'tiny'")
    page.say("hi")
    assert page.bodies[-1]["mmi"] is False
    page.tab.click("#open-settings")
    assert page.tab.is_disabled("#setting-mmi")
    assert shown(page, "num_hypotheses") == "1"


@pytest.mark.parametrize("logprobs", [False, True])
def test_an_engine_behind_the_server(serve: Callable[..., Any], show: Show, fake: Any, logprobs: bool) -> None:
    """Log-probabilities are shown where it tells them; the conversation is kept without them too."""

    def answer(request: Any) -> None:
        request.complete(**({} if logprobs else {"logprobs": None}))

    fake.answers = answer
    with ThreadPoolExecutor(1) as pool:  # Playwright's event loop runs in this thread
        server = pool.submit(serve, backend=fake.url, model="", backend_wait=1, num_hypotheses=2).result()
    page = show(server.url)
    assert page.say("hi") == "well0"
    page.tab.reload()
    page.tab.click("text=2 hypotheses")
    heads = [head.text_content() for head in page.tab.get_by_role("columnheader").all()]
    assert heads == ["#", "Reply", *(["Forward"] if logprobs else []), "Tokens"]
    assert page.tab.locator(".forward").all_text_contents() == (["-1.50", "-2.50"] if logprobs else [])
    assert page.texts == ["hi", "well0"]
