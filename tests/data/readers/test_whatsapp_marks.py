"""WhatsApp's exports: the marks of direction that open what the service itself has written."""

from typing import Any

import pytest

from dialogpt.data.readers import tidy

Read = Any
LRM, RLM = "\u200e", "\u200f"


def said(chat: Any) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in chat.turns]


def test_a_caption_stays_where_media_is_left_out(read: Read) -> None:
    (found,), dropped = read(f"{LRM}[13/05/21, 10:00:00] ليلى: شوفوا الصورة {LRM}تم استبعاد الصورة\n")
    assert [tidy(text) for _, text in said(found)] == ["شوفوا الصورة"]
    assert not dropped


@pytest.mark.parametrize(
    "form, dropped", [("[{}] {}: {}\n", {"service message": 2}), ("{} - {}: {}\n", {})], ids=["iOS", "Android"]
)
def test_an_iphone_opens_its_own_lines_from_right_to_left_too(read: Read, form: str, dropped: dict[str, int]) -> None:
    own = [f"{RLM}أضافت ليلى سامي", f"{RLM}الرسائل هنا مشفرة تمامًا بين الطرفين" + " ولا أحد خارجها يقرؤها" * 5]
    messages = [("ليلى", "أهلا"), *(("الشلة", text) for text in own), ("سامي", f"قالت لي: {RLM}أهلا")]
    (found,), counted = read("".join(form.format("٣١/١٢/٢٠٢٠، ٩:١٥ م", *message) for message in messages))
    assert len(found.turns) == 4 - len(own) * bool(dropped)  # elsewhere a person may have pasted the mark
    assert counted == dropped


@pytest.mark.parametrize("mark", [LRM, RLM])
def test_what_follows_a_mark_and_is_not_the_services_stays(read: Read, mark: str) -> None:
    edited = f"أقصد الخامسة {mark}<تم تعديل هذه الرسالة>"
    texts = [f"شوفوا {mark}لم يتم إدراج الصورة", edited]
    (found,), dropped = read("".join(f"[13/05/21, 10:00:00] ليلى: {text}\n" for text in texts))
    assert [tidy(text) for _, text in said(found)] == ["شوفوا", "أقصد الخامسة"]
    assert not dropped
