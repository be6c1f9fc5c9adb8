"""The report is one whole page that needs nothing but itself, safe with any text, small for any run."""

import math
import re
import sys
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.errors import DataError
from dialogpt.train.metrics import MetricsFile, Sample, StepLine, ValidationLine
from dialogpt.train.report import MAX_CHARACTERS, MAX_CONTEXTS, MAX_REPLIES, replies_over_time, thin, write_report

VOID = {"meta", "br", "hr", "img", "link", "input"}
TALK = [
    Sample(["Does money buy happiness?"], "It depends."),
    Sample(["صباح الخير، كيف حالك اليوم؟", "الحمد لله بخير وأنت؟"], "بخير شكرا 😀"),
    Sample(["今日は何を食べましたか？"], "ラーメン\nです。"),
    Sample(["Как дела?"], "Хорошо, а у тебя?"),
]


class Page(HTMLParser):
    """Reads a page: elements left open or closed twice fail; what stands in cells and turns is kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, Any]]] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[tuple[str, str]] = []  # (class or tag, text)
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            tag, attributes = self.open[-1]
            self.texts.append((attributes.get("class", tag), data))

    def of(self, name: str) -> list[str]:
        return [text for of, text in self.texts if of == name]


def make_run(folder: Path, *lines: StepLine | ValidationLine, settings: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(settings, encoding="utf-8")
    if lines:
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        (folder / "metrics.jsonl").write_bytes(text)
    return folder


def validation(step: int, samples: Sequence[Sample] = (), loss: float = 2.0) -> ValidationLine:
    return ValidationLine(step=step, targets_seen=step * 100, validation_loss=loss,
                          validation_perplexity=math.exp(loss), samples=list(samples))  # fmt: skip


def steps(count: int) -> list[StepLine]:
    return [
        StepLine(step=i, targets_seen=i * 7000, loss=5 - 4 * i / count + i % 7 / 10, lr=1e-3 / i,
                 gradient_norm=1 + i % 5, tokens_per_s=9000 + i % 100, memory_bytes=10**9, elapsed_s=i * 0.7)
        for i in range(1, count + 1)
    ]  # fmt: skip


def page_of(run: Path) -> Page:
    path = write_report(run)
    assert path == run / "report.html"
    assert not list(run.glob(".report*"))
    return Page(path.read_text(encoding="utf-8"))


def test_a_report_tells_the_run_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = [*steps(50), validation(10, TALK, 3.0), validation(20, TALK, math.log(12.5))]
    run = make_run(tmp_path / "кот и пёс", *lines, settings='{"lr": 0.25, "init": ""}')
    page = page_of(run)
    assert page.of("h1") == ["кот и пёс"]
    assert {"12.50 at step 20", "350,000", "1.00 GB", "0.25"} <= set(page.of("td"))
    assert sum(tag == "svg" for tag, _ in page.tags) == 5
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "image", "foreignobject"}
    for _, attributes in page.tags:
        assert not {"src", "srcset", "onload", "onclick"} & attributes.keys()
        assert all(str(attributes[name]).startswith("#") for name in attributes if name.endswith("href"))
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", text))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    style = "".join(page.of("style"))
    light, dark = style.split("prefers-color-scheme: dark")
    for name in set(re.findall(r"var\(--(\w+)\)", text)):
        assert f"--{name}:" in light, name
        assert f"--{name}:" in dark, name


def test_replies_stand_by_step_in_their_own_direction(tmp_path: Path) -> None:
    later = [Sample(sample.context, f"{sample.reply}!") for sample in TALK]
    page = page_of(make_run(tmp_path / "run", validation(5, TALK), validation(1500, later)))
    assert page.of("turn") == [turn for sample in TALK for turn in sample.context]
    assert page.of("reply") == [text for sample in TALK for text in (sample.reply, f"{sample.reply}!")]
    assert page.of("step") == ["5", "1,500"] * len(TALK)
    said = [attributes for _, attributes in page.tags if attributes.get("class") in ("turn", "reply")]
    assert all((attributes["dir"], attributes["lang"]) == ("auto", "") for attributes in said)


NASTY = ["", "<script>alert(1)</script>", "</td></table>", "&amp;", "\"'", "\u202eevil", "\0\x08", "\ud83d", "a\u2028b"]


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_any_text_is_shown_and_nothing_more(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path / "run", settings=f'{{"init": {msgspec.json.encode("<b>").decode()}}}')
    escaped = text.encode("utf-16-be", "surrogatepass").hex()
    as_json = '"' + "".join(f"\\u{escaped[i : i + 4]}" for i in range(0, len(escaped), 4)) + '"'
    line = f'{{"step": 1, "validation_loss": 2, "samples": [{{"context": [{as_json}], "reply": {as_json}}}]}}\n'
    (run / "metrics.jsonl").write_text(line, encoding="utf-8")
    page = page_of(run)
    expected = text.encode("utf-8", "replace").decode()
    assert "".join(page.of("reply")) == expected == "".join(page.of("turn"))
    assert not {tag for tag, _ in page.tags} & {"script", "b"}


def test_a_run_that_learns_by_heart_is_warned_of(tmp_path: Path) -> None:
    lines = [msgspec.structs.replace(validation(i, loss=1.0 + i), training_loss=5.0 - i) for i in (1, 2, 3)]
    assert "memorised" in "".join(page_of(make_run(tmp_path / "run", *lines)).of("warning"))
    assert page_of(make_run(tmp_path / "run", *lines[:2])).of("warning") == []


def test_without_matplotlib_a_sentence_stands_for_the_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = page_of(make_run(tmp_path / "run", *steps(5), validation(5, TALK)))
    assert not [tag for tag, _ in page.tags if tag == "svg"]
    assert page.of("code") == ['pip install "dialogpt[plots]"']
    assert "the plots need matplotlib: " in page.of("p")
    assert page.of("reply")


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (StepLine(step=0, loss=1.0),),
        (StepLine(step=1, loss=math.inf),),
        (StepLine(step=1, loss=800.0, lr=1e-300),),
        (validation(1),),
        (validation(1, loss=math.inf),),
    ],
)
def test_a_run_with_next_to_nothing_has_a_report(tmp_path: Path, lines: tuple[Any, ...]) -> None:
    page = page_of(make_run(tmp_path / "run", *lines))
    assert page.of("h1") == ["run"]
    drawn = any(tag == "svg" for tag, _ in page.tags)
    assert drawn or "no steps logged yet" in page.of("p") or "code" in {tag for tag, _ in page.tags}


def test_a_long_run_gives_a_small_report_in_seconds(tmp_path: Path) -> None:
    long_reply = "كلام " * 130
    lines: list[Any] = [*steps(100_000)]
    for i in range(1, 1001):
        samples = [Sample([f"{number} {long_reply}"], long_reply) for number in range(20)]
        lines.append(validation(i * 100, samples))
    run = make_run(tmp_path / "run", *lines)
    before = time.process_time()
    path = write_report(run)
    assert time.process_time() - before < 20  # some 3 s on a quiet machine
    assert path.stat().st_size < 2_000_000
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.of("reply")) == MAX_CONTEXTS * MAX_REPLIES
    assert f"sample replies ({MAX_CONTEXTS} of 20 shown)" in page.of("h2")
    assert f"({MAX_REPLIES} of 1,000 shown)" in page.of("note")


def test_a_reply_without_end_is_cut_where_one_sees_it(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", validation(1, [Sample(["hi"], "よ" * 10**6)])))
    assert page.of("reply") == ["よ" * MAX_CHARACTERS + "…"]


def test_contexts_that_come_later_are_kept_apart() -> None:
    lines = [validation(1, TALK[:1]), validation(2, TALK[1:2]), validation(3, TALK[:1])]
    found = replies_over_time(lines)
    assert [[reply.step for reply in replies] for replies in found.values()] == [[1, 3], [2]]
    assert next(iter(found)) == tuple(TALK[0].context)


@given(st.integers(0, 500), st.integers(2, 50))
def test_thinning_keeps_order_and_both_ends(count: int, most: int) -> None:
    kept = thin(range(count), most)
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    if count:
        assert (kept[0], kept[-1]) == (0, count - 1)


def test_what_is_no_run_has_no_report(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="not a run folder"):
            write_report(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_keeps_the_report_it_has(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", *steps(3))
    before = write_report(run).read_bytes()
    MetricsFile(run / "metrics.jsonl").path.write_text("{a}\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl:1"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
