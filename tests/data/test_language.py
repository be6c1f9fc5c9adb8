"""The limit to some languages."""

import pickle
import sys

import pytest

from dialogpt.data import language
from dialogpt.data.language import LanguageFilter
from dialogpt.errors import UsageError
from dialogpt.session import Session, Turn

pytest.importorskip("py3langid")

DIALOGUES = {
    "en": ("Hi! How are you?", "Fine, thanks. What are you doing today?"),
    "ar": ("مرحبا كيف حالك؟", "الحمد لله بخير وأنت؟"),
    "ru": ("Привет, как дела?", "Хорошо, а у тебя?"),
    "ja": ("こんにちは、元気ですか?", "はい、元気です。"),
    "es": ("Hola, ¿cómo estás?", "Muy bien, gracias, ¿y tú?"),
    "zh": ("你好吗?", "很好,谢谢你。"),
}


def session(*texts: str) -> Session:
    return Session(tuple(map(Turn, texts)))


@pytest.fixture(scope="module")
def keeps() -> dict[str, LanguageFilter]:
    return {code: LanguageFilter([code]) for code in DIALOGUES}


@pytest.mark.parametrize("wanted", DIALOGUES)
@pytest.mark.parametrize("spoken", DIALOGUES)
def test_short_dialogues_are_told_apart(keeps: dict[str, LanguageFilter], wanted: str, spoken: str) -> None:
    assert keeps[wanted](session(*DIALOGUES[spoken])) == (None if wanted == spoken else "language")


@pytest.mark.parametrize("texts", [(), ("",), ("😂", "👍👍"), ("42", "43!"), ("k", "no")])
def test_what_could_be_any_language_stays(keeps: dict[str, LanguageFilter], texts: tuple[str, ...]) -> None:
    assert keeps["en"](session(*texts)) is None


@pytest.mark.parametrize(
    "texts", [("lol ok", "yes"), ("nice car bro", "thank you"), ("What's up?", "Not much, you?"), ("AWESOME", "I KNOW")]
)
def test_short_english_stays(keeps: dict[str, LanguageFilter], texts: tuple[str, ...]) -> None:
    assert keeps["en"](session(*texts)) is None


def test_dialects_count_as_their_language(keeps: dict[str, LanguageFilter]) -> None:
    assert keeps["ar"](session("ازيك عامل ايه؟ فينك من زمان", "كويس والله بس كنت مشغول اوي")) is None
    assert keeps["ar"](session("لاباس عليك؟ فين غادي دابا", "بخير الحمد لله، غادي للدار")) is None


def test_several_languages_are_kept(keeps: dict[str, LanguageFilter]) -> None:
    both = LanguageFilter(["ar", "en"])
    reasons = {code: both(session(*texts)) for code, texts in DIALOGUES.items()}
    assert reasons == {code: None if code in ("ar", "en") else "language" for code in DIALOGUES}


def test_the_end_of_a_long_session_decides(keeps: dict[str, LanguageFilter]) -> None:
    made = session(*DIALOGUES["ru"] * 5, *DIALOGUES["en"] * 5)
    assert (keeps["en"](made), keeps["ru"](made)) == (None, "language")


def test_it_travels_to_other_processes(keeps: dict[str, LanguageFilter]) -> None:
    data = pickle.dumps(keeps["ja"])
    assert len(data) < 1000
    assert [pickle.loads(data)(session(*DIALOGUES[code])) for code in ("ja", "en")] == [None, "language"]


@pytest.mark.parametrize(
    "languages, message",
    [
        (["english"], "unknown language 'english'.*known: .* en .*zh"),
        (["en", "jaa"], r"unknown language 'jaa'.*did you mean 'ja'\?"),
        (["EN"], r"unknown language 'EN'.*did you mean 'en'\?"),
        ([], "no language to keep"),
    ],
)
def test_unknown_languages_are_an_error(languages: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LanguageFilter(languages)


def test_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    language._load.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(UsageError, match=r'pip install "dialogpt\[language\]"'):
        LanguageFilter(["en"])
