"""The halves of the day as phones write them: PM, p. m., ص, 下午, 오후."""

import re

_NOT_LETTERS = re.compile(r"[\W_]+")


def letters(half: str) -> str:
    """A word of a clock without dots, blanks and quotes, and without the signs that Indian scripts join to letters."""
    return _NOT_LETTERS.sub("", half).casefold()


_HALVES = {
    "am": False, "pm": True, "a": False, "p": True, "ص": False, "م": True, "صباحا": False, "مساء": True,
    "قظ": False, "بظ": True, "öö": False, "ös": True, "πμ": False, "μμ": True, "de": False, "du": True,
    "上午": False, "下午": True, "凌晨": False, "早上": False, "中午": True, "晚上": True, "午前": False, "午後": True,
    "오전": False, "오후": True, "לפנהצ": False, "אחהצ": True, "пп": False, "дп": False, "pg": False, "ptg": True,
    "sa": False, "ch": True, "पूर्वाह्न": False, "अपराह्न": True, "मपू": False, "मउ": True, "முற்பகல்": False,
    "பிற்பகல்": True, "ಪೂರ್ವಾಹ್ನ": False, "ಅಪರಾಹ್ನ": True, "paradites": False, "eparadites": False, "pasdites": True,
    "epasdites": True, "بن": False, "دن": True,
}  # fmt: skip
_AFTER_NOON = {letters(word): after_noon for word, after_noon in _HALVES.items()}  # True from noon on


def hour_of_day(hour: int, half: str) -> int:
    """The hour, from 0, of a clock with two halves; one whose half is unknown or "" stays as it is."""
    after_noon = _AFTER_NOON.get(letters(half)) if half else None
    return hour if after_noon is None or hour > 12 else hour % 12 + 12 * after_noon
