"""LINE's text exports: languages, days, several lines, what is no talk, what a computer writes."""

from typing import Any

import pytest

from dialogpt.data.readers import TextFile, recognise
from dialogpt.data.readers.chatlog import ChatTurn
from dialogpt.errors import DataError

Read = Any
DAY_S = 86400

JAPANESE = """[LINE] 山の会のトーク履歴
保存日時：2026/09/30 10:00

2026/09/26(土)
00:10\t\tけんが参加しました。
10:21\tはな\t次はどこへ登る？
10:23\t山本 A\t"高尾か筑波。
2026/09/28(月)
2026/09/29(火)

どちらでも。
"
10:24\t山本 A\t[スタンプ]
10:24\t山本 A\t[写真]
10:25\tはな\tいいね(emoji)
10:25\tはな\t(emoji)
10:26\t山本 A\t[位置情報] 高尾山口駅
10:26\t山本 A\t[アルバム] 「夏」を作成しました。
10:27\tはな\t☎ 通話時間 0:07
10:28\t山本 A\t[笑]
10:29\tメッセージの送信を取り消しました
10:30\tはながメッセージの送信を取り消しました
10:31\tはな\tメッセージの送信を取り消しましたか？ と聞いた

2026/09/27(日)
23:59\t山本 A\t"引用"
"""


def shown(chat: Any) -> list[str]:
    return [f"{turn.speaker}: {' '.join(turn.text.split())}" for turn in chat.turns]


def test_a_japanese_group(read: Read) -> None:
    (chat,), dropped = read(JAPANESE, file="[LINE] 山の会.txt")
    assert shown(chat) == [
        "はな: 次はどこへ登る？",
        "山本 A: 高尾か筑波。 2026/09/28(月) 2026/09/29(火) どちらでも。",
        "はな: いいね",
        "山本 A: [笑]",
        "はな: メッセージの送信を取り消しましたか？ と聞いた",
        '山本 A: "引用"',
    ]
    assert chat.turns[1].time_s - chat.turns[0].time_s == 120
    assert chat.turns[-1].time_s - chat.turns[0].time_s == DAY_S + (13 * 60 + 38) * 60
    assert dropped == {"line above the first message": 2, "service message": 2, "media": 4, "message without words": 1,
                       "deleted message": 2}  # fmt: skip


@pytest.mark.parametrize(
    "head, days, first, second",
    [
        (
            "Chat history with Ann\nSaved on: 1/30/2026, 10:00\n",
            ("Fri, 1/30/2026", "Sat, 1/31/2026"),
            "9:15 AM",
            "9:15PM",
        ),
        ("[LINE] Chat history in Us\nSaved on: x\n", ("Fri, 30/01/2026", "Sat, 31/01/2026"), "09:15", "21:15"),
        ("[LINE] 與Ann的聊天記錄\n儲存日期：x\n", ("2026/01/30（五）", "2026/01/31（六）"), "上午09:15", "下午09:15"),
        ("[LINE] 与Ann的聊天记录\n保存日期：x\n", ("2026/1/30周五", "2026/1/31周六"), "上午9:15", "下午9:15"),
        ("[LINE] Annとのトーク履歴\n保存日時：x\n", ("2026/1/30(金)", "2026/1/31(土)"), "午前9:15", "午後9:15"),
        ("[LINE] ประวัติการแชทกับ Ann\nบันทึกเมื่อ x\n", ("ศ. 30/1/2026", "ส. 31/1/2026"), "09:15", "21:15"),
        ("", ("2026.01.30 Friday", "2026.01.31 Saturday"), "09:15", "21:15"),
    ],
)
@pytest.mark.parametrize("encoding, line_end", [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\r\n")])
def test_languages(
    read: Read, head: str, days: tuple[str, str], first: str, second: str, encoding: str, line_end: str
) -> None:
    content = f"{head}\n{days[0]}\n{first}\tAnn\tHi\n{second}\t\u200fليلى\tHello\n\n{days[1]}\n{first}\tAnn\tBye\n"
    (chat,), dropped = read(content.replace("\n", line_end).encode(encoding))
    assert [(turn.speaker, turn.text) for turn in chat.turns] == [
        ("Ann", "Hi"),
        ("\u200fليلى", "Hello"),
        ("Ann", "Bye"),
    ]
    hours = [(turn.time_s - chat.turns[0].time_s) / 3600 for turn in chat.turns]
    assert hours == [0, 12, 24]
    assert dropped["line above the first message"] == head.count("\n")


def test_english_notices(read: Read) -> None:
    lines = ["\tAnn joined the group.", "Ann unsent a message.", "Ann\tMessage unsent.", "Ann\t☎ Missed call",
             "Ann\t[Sticker]", "Ann\t[Voice message]", "Ann\t[Notes] A list", "Ann\tYes\ta tab", "Ann\t"]  # fmt: skip
    (chat,), dropped = read("Chat history with Ann\n\nFri, 1/30/2026\n" + "".join(f"09:15\t{line}\n" for line in lines))
    assert shown(chat) == ["Ann: Yes a tab"]
    assert dropped == {"line above the first message": 1, "service message": 2, "deleted message": 2, "media": 3,
                       "message without words": 1}  # fmt: skip


def test_a_day_that_is_none_is_text(read: Read) -> None:
    (chat,), _ = read("2026/01/30(金)\n09:15\tAnn\tHi\n2026/13/30(金)\n09:16\tAnn\tBye\n")
    assert shown(chat) == ["Ann: Hi 2026/13/30(金)", "Ann: Bye"]


def test_the_order_of_day_and_month_can_be_told(read: Read) -> None:
    content = "Chat history with Ann\n\nMon, 2/3/2026\n09:15\tAnn\tHi\nTue, 3/3/2026\n09:15\tAnn\tBye\n"
    days = {order: [turn.time_s // DAY_S for turn in read(content, date_order=order)[0][0].turns]
            for order in ("auto", "mdy", "dmy")}  # fmt: skip
    assert days["auto"] == days["mdy"]
    assert [later - earlier for earlier, later in days.values()] == [28, 28, 1]


@pytest.mark.parametrize("day", ["2026.01.09 金曜日", "2026.01.09 Friday", "2025.02.15 星期六"])
def test_what_a_computer_has_written_is_an_error(tmp_path: Any, read: Read, day: str) -> None:
    content = f"{day}\n01:54 Ann Lee Hello\n01:55 Bo Hi\n"
    with pytest.raises(DataError, match="export from a computer") as caught:
        read(content)
    assert "on a phone" in caught.value.hint
    with pytest.raises(DataError, match="no line begins with a time and a tab"):
        read("[LINE] Annとのトーク履歴\n", "line")
    (tmp_path / "log.txt").write_text("2026/01/09\n01:54 somebody wrote a log\n", encoding="utf-8")
    with pytest.raises(DataError, match="not a known format"):
        recognise(TextFile(tmp_path / "log.txt"))


def test_a_file_that_is_cut_off_ends_with_its_last_message(read: Read) -> None:
    (chat,), _ = read(JAPANESE[: JAPANESE.index("2026/09/28")])
    assert chat.turns[-1] == ChatTurn("高尾か筑波。", "山本 A", time_s=chat.turns[0].time_s + 120)
