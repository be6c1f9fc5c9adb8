"""Settings of `chat` that would be passed over are refused before a model is loaded."""

import io
from typing import Any

import pytest

from dialogpt.chat import ChatConfig
from dialogpt.chat.terminal import chat
from dialogpt.errors import UsageError


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"continue_": True}, "--continue is for a terminal"),
        ({"self_play": "same", "json": True}, "--json and --self-play together"),
        ({"self_play": "same", "show_hypotheses": True}, "--show-hypotheses and --self-play together"),
        ({"turns": 3}, "--turns is for --self-play"),
        ({"opening": "Yo"}, "--opening is for --self-play"),
    ],
)
def test_what_a_pipe_would_pass_over_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    with pytest.raises(UsageError, match=message):
        chat(ChatConfig(model="no model", **settings))
