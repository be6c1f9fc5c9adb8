"""What somebody says who may be in danger, and what only sounds like it, by the lists that ship."""

import pytest

from dialogpt import Turn
from dialogpt.data.blocklist import DISTRESS_PHRASES, HARMLESS_PHRASES, shipped
from dialogpt.decoding import Hypothesis
from dialogpt.decoding.safety import HELP, HELP_AR, HELP_FA, HELP_HE, default_guards, said_instead

DISTRESS = [
    "اريد أن أموت", "أريد ان اموت", "أفكر في الإنتحار",
    "I don't want to live with the guilt", "I do not want to live on", "I dont want to live with it",
    "I want to end it all.", "i dont wanna live anymore", "I do not want to live in this world", "Im suicidal",
    "I don't want to live in pain any more", "sometimes I wish I'd never been born",
    "I'm going to hang myself tonight", "No one would care if I died.", "I wish I could just die",
    "I just want to fall asleep and never wake up", "I've been contemplating suicide", "he left. I'm gonna kms",
    "What is the point? I have no reason to live", "I live in London and I don't want to live",
    "I don't want to live in London, I want to die", "I hate being alive", "I swallowed a whole bottle of pills",
    "I can't go on living like this", "the world would be better without me", "I want to jump in front of a train",
    "I want to UN-ALIVE myself, I mean unalive myself", "I'd like to be dead: self-harm", "مش عايز اعيش",
    "ياريتني أموت", "أُفكّر في الانتحار كل يوم", "سأقتل نفسي", "انا عايزة اموت", "بدي انتحر", "بغيت نموت",
    "I don't want to live in this hell anymore", "I don't want to live with this pain", "لا أريد أن أعيش في هذا الجحيم",
    "لا أريد أن أعيش في هذه الدنيا", "فقدت الرغبة في الحياة", "أنا راح أنتحر", "ليتني لم أولد", "لدي أفكار انتحارية",
    "تعبت من الحياة وأريد أن أموت", "أفكر بقتل نفسي", "أبحث عن طريقة لأنهي حياتى", "اريد الموووت", "بقتل حالي",
    "دیگه می‌خوام بمیرم", "ميخوام بميرم", "کاش به دنیا نمی‌اومدم، کاش می‌مردم", "به خودکشی فکر می‌کنم", "خودمو می‌کشم",
    "نمی‌خواهم زنده بمانم", "خسته‌ام و می خواهم بمیرم", "לא רוצה לחיות עם הכאב הזה",
    "אני רוצה למות", "חושבת להתאבד", "אני לא רוצה לחיות יותר",
    "יש לי מחשבות אובדניות", "בא לי להרוג את עצמי", "הלוואי שלא נולדתי",
]  # fmt: skip
HARMLESS = [
    "I could kill for a pizza", "this homework is killing me", "I'm dying of laughter", "I'm dying to see that film!",
    "My feet are killing me.", "That joke killed me, I'm dead", "I nearly died of shame", "I'm starving to death",
    "I could die happy now", "You are to die for", "I would kill to have your hair", "my phone died",
    "dead tired today", "I don't want to live in London.", "I don't want to live with my parents anymore",
    "I wouldn't want to live there", "I don't want to live alone", "I can't go on living in this flat",
    "I'm tired of living with three cats", "There is no reason to live in the city",
    "There's no point in living near the office", "I want to die laughing", "I was killing myself laughing",
    "I want to die my hair blue", "I jumped off a bridge with a bungee rope", "I cut myself shaving",
    "I want to cut myself a slice of cake", "I could overdose on chocolate", "I ran ten kms",
    "I shot myself in the foot with that remark", "that would be career suicide", "Suicide Squad is fun",
    "I saw a documentary about suicide", "Did you see the dog jump in front of a car?",
    "I took a bottle of pills to him", "I hope I don't wake up late", "What did you think about Suicide Squad?",
    "I don't want to hurt myself at the gym",
    "I want to be dead sure", "end of my life story", "I threw myself into work", "I drown myself in work",
    "I dust it off myself", "I Don't Wanna Live Forever is a song", "I wish I was in bed", "I took my life savings",
    "I am dead serious", "let's end it all the same", "He wishes he was tall", "أموت من الضحك", "هذا الواجب يقتلني",
    "أموت فيك", "ميت من الجوع", "لا أريد أن أعيش في المدينة", "انتحر البطل في آخر الفيلم", "لا أريد أن أعيش مع أخي",
    "مت من الضحك", "قتلني الملل", "أريد أن أعيش في الريف", "جرحت نفسي وأنا أحلق", "نفسي آكل بيتزا",
    "كدت أقتل نفسي من الضحك", "كنت سأموت من الخجل", "كلا، أريد أن أعيش",
    "وانتحر البطل", "أريد أن أموت من الضحك",
    "از خنده مردم", "برات می‌میرم", "بمیرم برات", "می‌خوام بمیرم برات عزیزم", "نمی‌خوام تو تهران زندگی کنم",
    "می‌خواهم خودم را بکشم کنار",
    "می‌خوام عکس خودم رو بکشم", "دارم سیگار می‌کشم", "فیلم درباره خودکشی بود", "مردم از گرسنگی", "می‌خواهم زندگی کنم",
    "אני מת מרעב", "אני רוצה למות מצחוק", "מת על הסדרה הזאת", "לא רוצה לחיות בתל אביב", "לא רוצה לחיות עם ההורים",
    "הגיבור התאבד בסוף",
    "אני רוצה לחיות", "נפגעתי בתאונה",
]  # fmt: skip


def in_distress(said: str) -> str | None:
    reason = default_guards()[0]([Turn("Fine."), Turn(said)], "Great!")
    assert reason is None or reason.startswith("distress: ")
    return reason


@pytest.mark.parametrize("said", DISTRESS)
def test_ways_to_speak_of_ending_ones_life(said: str) -> None:
    assert in_distress(said)


@pytest.mark.parametrize("said", HARMLESS)
def test_what_sounds_like_it_and_is_not(said: str) -> None:
    assert in_distress(said) is None


def test_every_phrase_of_distress_counts_by_itself_and_every_harmless_one_is_needed() -> None:
    def listed(name: str) -> list[str]:
        return [line for line in shipped(name).read_text("utf-8").splitlines() if line and not line.startswith("#")]

    phrases = listed(DISTRESS_PHRASES)
    assert len({*phrases}) == len(phrases)
    assert [phrase for phrase in phrases if not in_distress(f"Oh. {phrase}!")] == []
    firsts = [phrase.split() for phrase in phrases]
    for harmless in listed(HARMLESS_PHRASES):  # a phrase of distress ends in it
        words = harmless.split()
        assert any(words[:n] == first[-n:] for n in range(1, len(words) + 1) for first in firsts) or any(
            phrase in harmless for phrase in phrases
        ), harmless


def line_for(said: str) -> str:
    return said_instead([Hypothesis(text="", tokens=(), logprob=0.0, ended=True, rejected=in_distress(said))])


@pytest.mark.parametrize(
    "said, line",
    [("I want to die", HELP), ("اريد ان اموت", HELP_AR), ("ميخوام بميرم", HELP_FA), ("אני רוצה למות", HELP_HE)],
)
def test_the_line_is_in_the_language_of_the_phrase(said: str, line: str) -> None:
    assert line_for(said) == line


def test_each_listed_phrase_gets_the_line_of_its_part_of_the_list() -> None:
    line = HELP
    for entry in shipped(DISTRESS_PHRASES).read_text("utf-8").splitlines():
        for heading, language in (("# Arabic", HELP_AR), ("# Persian", HELP_FA), ("# Hebrew", HELP_HE)):
            line = language if entry.startswith(heading) else line
        if entry and not entry.startswith("#"):
            assert line_for(entry) == line, entry
