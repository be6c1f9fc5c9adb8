"""KakaoTalk's exports from telephones, Windows and macOS: languages, days, notices, media."""

from typing import Any

import pytest

from dialogpt.errors import DataError

Read = Any
HOUR_S = 3600

ANDROID = """여행 3 카카오톡 대화
저장한 날짜 : 2023년 1월 5일 오후 6:24


2023년 1월 2일 오후 1:23
2023년 1월 2일 오후 1:23, 홍길동님이 김철수님을 초대했습니다.
2023년 1월 2일 오후 1:23, 홍길동 : 안녕, 오늘 : 뭐해?
2023년 1월 2일 월요일
어때?
2023년 1월 2일 오후 1:24, 김철수 : 사진
2023년 1월 2일 오후 1:24, 김철수 : 사진 3장
2023년 1월 2일 오후 1:24, 김철수 : 이모티콘
2023년 1월 2일 오후 1:24, 김철수 : (이모티콘) ㅋㅋㅋ
2023년 1월 2일 오후 1:25, 김철수 : 파일: 보고서.pdf
2023년 1월 2일 오후 1:25, 김철수 : 보이스톡 해요
2023년 1월 2일 오후 1:25, 김철수 : 삭제된 메시지입니다.
2023년 1월 2일 오후 1:26, 김철수 : 사진 보내줘


2023년 1월 3일 오전 12:05
2023년 1월 3일 오전 12:05, 김철수 : 김철수님이 나갔습니다.
2023년 1월 3일 오전 12:06, 김철수님이 나갔습니다.
"""
IOS = """홍길동 님과 카카오톡 대화
저장한 날짜 : 2023. 1. 5. 오후 6:24

2023년 1월 2일 월요일
2023. 1. 2. 오후 1:23: 김철수님이 들어왔습니다.
운영정책을 위반한 메시지로 신고 접수 시 카카오톡 이용에 제한이 있을 수 있습니다.
2023. 1. 2. 오후 1:23, 홍길동 : 안녕
[김철수] [오후 1:20] 이거?
메시지가 삭제되었습니다.
2023. 1. 2. 13:24, 김철수 : 응
2023년 1월 3일 화요일
2023. 1. 3. 오전 12:05, 홍길동 : 잘 자
"""
WINDOWS = """홍길동 님과 카카오톡 대화
저장한 날짜 : 2023-01-05 18:24:11

--------------- 2023년 1월 2일 월요일 ---------------
김철수님이 들어왔습니다.운영정책을 위반한 메시지로 신고 접수 시 카카오톡 이용에 제한이 있을 수 있습니다.
[홍길동] [오후 1:23] 안녕
2023. 1. 2. 오후 1:00, 누구 : 복사한 말
[김[철]수] [오후 1:24] 응
홍길동님이 나갔습니다.
채팅방 관리자가 메시지를 가렸습니다.
--------------- 2023년 1월 3일 화요일 ---------------
[홍길동] [오전 12:05] 잘 자
"""
MAC = """Date,User,Message
2023-01-02 13:23:45,"홍길동","안녕, ""친구""
뭐해?"
2023-01-02 13:24:00,"김철수","사진"
2023-01-02 13:24:30,"김철수","김철수님이 나갔습니다."
2023-01-03 00:05:00,"홍길동","김철수님이 나갔습니다."
"""


def shown(chat: Any) -> list[str]:
    return [f"{turn.speaker}: {' '.join(turn.text.split())}" for turn in chat.turns]


def hours(chat: Any) -> list[float]:
    return [round((turn.time_s - chat.turns[0].time_s) / HOUR_S, 2) for turn in chat.turns]


def test_a_chat_of_android(read: Read) -> None:
    (chat,), dropped = read(ANDROID, file="KakaoTalkChats.txt")
    assert shown(chat) == ["홍길동: 안녕, 오늘 : 뭐해? 2023년 1월 2일 월요일 어때?", "김철수: ㅋㅋㅋ",
                           "김철수: 사진 보내줘", "김철수: 김철수님이 나갔습니다."]  # fmt: skip
    assert hours(chat) == [0, 0.02, 0.05, 10.7]
    assert dropped == {"line above the first message": 2, "service message": 3, "media": 4, "deleted message": 1}


def test_a_chat_of_ios(read: Read) -> None:
    (chat,), dropped = read(IOS)
    assert shown(chat) == ["홍길동: 안녕 [김철수] [오후 1:20] 이거?", "김철수: 응", "홍길동: 잘 자"]
    assert hours(chat) == [0, 0.02, 10.7]
    assert dropped == {"line above the first message": 2, "service message": 2, "deleted message": 1}


def test_a_chat_of_windows(read: Read) -> None:
    (chat,), dropped = read(WINDOWS)
    assert shown(chat) == ["홍길동: 안녕 2023. 1. 2. 오후 1:00, 누구 : 복사한 말", "김[철]수: 응", "홍길동: 잘 자"]
    assert hours(chat) == [0, 0.02, 10.7]
    assert dropped == {"line above the first message": 2, "service message": 2, "deleted message": 1}


def test_a_chat_of_macos(read: Read) -> None:
    (chat,), dropped = read(MAC, file="KakaoTalk_Chat.csv")
    assert shown(chat) == ['홍길동: 안녕, "친구" 뭐해?', "홍길동: 김철수님이 나갔습니다."]
    assert hours(chat) == [0, 10.69]
    assert dropped == {"media": 1, "service message": 1}


@pytest.mark.parametrize(
    "first, second",
    [
        ("October 12, 2020, 6:49 AM, Ann : Hi", "October 12, 2020, 6:49 PM, Bo : Photo"),
        ("January 2, 2018, 6:49 a.m., Ann : Hi", "January 2, 2018, 6:49 p.m., Bo : Emoticon"),
        ("Jan 2, 2023 at 6:49\u202fAM, Ann : Hi", "Jan 2, 2023 at 6:49\u202fPM, Bo : Voice Note"),
        ("Oct 1, 2026 at 06:49, Ann : Hi", "Oct 1, 2026 at 18:49, Bo : File: a.pdf"),
        ("[Ann] [6:49 AM] Hi", "[Bo] [6:49 PM] Photo"),
    ],
)
@pytest.mark.parametrize("encoding, line_end", [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\r\n")])
def test_english(read: Read, first: str, second: str, encoding: str, line_end: str) -> None:
    day = "--------------- Thursday, October 1, 2020 ---------------" if first[0] == "[" else ""
    third = second.replace("Photo", "\u200fأهلا").replace("Emoticon", "\u200fأهلا").replace("Voice Note", "\u200fأهلا")
    third = third.replace("File: a.pdf", "\u200fأهلا")
    content = "\n".join(["KakaoTalk Chats with Ann", "Date Saved : x", "", day, first, second, third, ""])
    (chat,), dropped = read(content.replace("\n", line_end).encode(encoding))
    assert shown(chat) == ["Ann: Hi", "Bo: \u200fأهلا"]
    assert hours(chat) == [0, 12]
    assert dropped == {"line above the first message": 2, "media": 1}


@pytest.mark.parametrize(
    "content, message",
    [
        ("2023년 1월 2일 오후 1:23\n아무것도\n", "no message"),
        ("", "no message"),
        ("Date,User,Message\n2023-01-02 13:23:45,a,b\nyesterday,a,b\n", r"talk\.txt:3: not a row .*yesterday"),
        ("Date,User,Message\n2023-01-02 13:23:45,a\n", r"talk\.txt:2: not a row .*not enough values"),
    ],
)
def test_what_is_no_export_is_an_error(read: Read, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(content, "kakaotalk")


def test_a_file_that_is_cut_off_ends_with_its_last_message(read: Read) -> None:
    assert shown(read(ANDROID[: ANDROID.index("어때")])[0][0])[-1].endswith("2023년 1월 2일 월요일")
    assert shown(read(MAC[: MAC.index("뭐해")])[0][0]) == ['홍길동: 안녕, "친구"']


def test_calls_and_payments_are_of_the_service(read: Read) -> None:
    told = ["보이스톡 해요", "보이스톡 부재중", "페이스톡 취소", "그룹콜 해요", "보이스톡 1:02:03",
            "30,400원을 받으세요.", "30,400원 받기 완료! 송금은 물론,\n투자도 가능해요."]  # fmt: skip
    said = ["보이스톡 할까?", "30,400원 받았어"]
    lines = [f"[홍길동] [오후 2:{minute:02}] {text}" for minute, text in enumerate(told + said)]
    (chat,), dropped = read("\n".join(["--------------- 2023년 1월 2일 월요일 ---------------", *lines]))
    assert shown(chat) == [f"홍길동: {text}" for text in said]
    assert dropped == {"service message": len(told)}


def test_a_long_line_is_text(read: Read) -> None:
    long = "님이 " * 100_000
    (chat,), _ = read(f"{WINDOWS}{long}\n[홍길동] [오전 12:06] {long}\n")
    assert [len(turn.text) for turn in chat.turns[-2:]] == [len(long) + 3, len(long) - 1]
