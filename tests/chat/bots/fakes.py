"""Telegram and Discord on loopback: what their servers answer, what they were asked, and faults on demand.

Each is an aiohttp server in a thread of its own; tests call its methods from theirs.
"""

import asyncio
import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

PATIENCE_S = 60.0
Fault = Callable[[web.Request], web.StreamResponse]


def until(holds: Callable[[], Any]) -> Any:
    """Wait for something, and return it."""
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
    return found


class Loopback:
    """A server at a free port; `calls` are the (name, parameters) of all requests, `faults` come before answers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.url = self.run(self._start())

    def application(self) -> web.Application:
        raise NotImplementedError

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _start(self) -> str:
        self._runner = web.AppRunner(self.application(), shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def close(self) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _end(self) -> None:
        await self._runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def called(self, name: str) -> list[dict[str, Any]]:
        return [parameters for called, parameters in list(self.calls) if called == name]

    def fail(self, name: str, *faults: Fault) -> None:
        """What the next requests of that name get in place of their answer."""
        self.faults[name].extend(faults)

    def fault(self, name: str, request: web.Request) -> web.StreamResponse | None:
        return self.faults[name].popleft()(request) if self.faults[name] else None


def dropped(request: web.Request) -> web.StreamResponse:
    """The connection ends without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def answered(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """As JSON, without a character set, as Discord names it."""
    return web.Response(body=json.dumps(data).encode(), status=status, headers=headers, content_type="application/json")


def status(number: int, headers: dict[str, str] | None = None, **fields: Any) -> Fault:
    return lambda request: answered(fields, status=number, headers=headers)


class FakeTelegram(Loopback):
    """The Bot API of a bot called @tester, number 7."""

    TOKEN = "7:telegram"

    def application(self) -> web.Application:
        self._updates: list[dict[str, Any]] = []
        self._confirmed = 0
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["method"]
        parameters = dict(await request.post())
        self.calls.append((name, parameters))
        if (fault := self.fault(name, request)) is not None:
            return fault
        if request.match_info["token"] != self.TOKEN:
            return answered({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)
        match name:
            case "getMe":
                result: Any = {"id": 7, "is_bot": True, "first_name": "Tester", "username": "tester"}
            case "getUpdates" | "getupdates":
                result = await self._news(int(parameters.get("offset", 0)), float(parameters.get("timeout", 0)))
            case "sendMessage":
                chat = {"id": int(parameters["chat_id"]), "type": "private"}
                result = {"message_id": 1000 + len(self.calls), "date": 0, "chat": chat, "text": parameters["text"]}
            case _:
                result = True
        return answered({"ok": True, "result": result})

    async def _news(self, offset: int, timeout: float) -> list[dict[str, Any]]:
        end = time.monotonic() + min(timeout, 1.0)
        self._confirmed = max(self._confirmed, offset)  # what is below does not come again
        while True:
            news = [update for update in list(self._updates) if update["update_id"] >= self._confirmed]
            if news or time.monotonic() >= end:
                return news
            await asyncio.sleep(0.01)

    def update(self, **fields: Any) -> None:
        self._updates.append({"update_id": len(self._updates) + 1, **fields})

    def message(self, text: str | None, chat: int = 42, user: int = 42, **fields: Any) -> dict[str, Any]:
        """A message as Telegram has it; a chat below 0 is a group. Mentions and commands in the text are marked."""
        kind = {"type": "private", "first_name": "Ann"} if chat > 0 else {"type": "supergroup", "title": "Friends"}
        sender = {"id": user, "is_bot": False, "first_name": "Ann"} | fields.pop("sender", {})
        made = {"message_id": len(self._updates) + 1, "date": 0, "chat": {"id": chat, **kind}, "from": sender}
        if text is not None:
            made |= {"text": text, "entities": _entities(text)}
        return made | fields

    def say(self, text: str | None, chat: int = 42, user: int = 42, **fields: Any) -> None:
        self.update(message=self.message(text, chat, user, **fields))

    def texts(self, chat: int = 42) -> list[str]:
        """What the bot has said in a chat."""
        return [str(call["text"]) for call in self.called("sendMessage") if int(call["chat_id"]) == chat]


def _entities(text: str) -> list[dict[str, Any]]:
    found, place = [], 0
    for word in text.split(" "):
        length = len(word.encode("utf-16-le")) // 2
        if word[:1] in ("@", "/"):
            found.append({"type": {"@": "mention", "/": "bot_command"}[word[0]], "offset": place, "length": length})
        place += length + 1
    return found


def flood(seconds: int) -> Fault:
    """Telegram's 429."""
    return status(429, ok=False, error_code=429, description="Too Many Requests", parameters={"retry_after": seconds})


class FakeDiscord(Loopback):
    """The API of a bot called tester, number 7, in a server with one channel, 500; its gateway is at /gateway."""

    TOKEN = "discord"
    ME, GUILD, CHANNEL, ROLE = "7", "100", "500", "70"

    def application(self) -> web.Application:
        self.sockets: list[web.WebSocketResponse] = []
        self.received: list[dict[str, Any]] = []  # what came over the gateway
        self._events: list[dict[str, Any]] = []
        self.resumable = True
        self.intents_close = 0  # a code to close with in place of READY
        app = web.Application()
        app.router.add_get("/gateway", self._gateway)
        app.router.add_route("*", "/api/{path:.*}", self._answer)
        return app

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        text = await request.text()
        self.calls.append((f"{request.method} {path}", json.loads(text) if text else {}))
        if (fault := self.fault(f"{request.method} {path}", request)) is not None:
            return fault
        if "Authorization" in request.headers and request.headers["Authorization"] != f"Bot {self.TOKEN}":
            return answered({"message": "401: Unauthorized", "code": 0}, status=401)
        me = _user(self.ME, "tester", bot=True)
        match request.method, path.split("/"):
            case "GET", ["users", "@me"]:
                return answered(me)
            case "GET", [*_, "applications", "@me"]:
                return answered({
                    "id": self.ME, "name": "tester", "description": "", "icon": None, "bot_public": True,
                    "bot_require_code_grant": False, "owner": _user("1", "owner"), "verify_key": "", "flags": 0,
                })  # fmt: skip
            case "GET", ["gateway", "bot"]:
                limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
                url = self.url.replace("http", "ws") + "/gateway"
                return answered({"url": url, "shards": 1, "session_start_limit": limit})
            case "PUT", ["applications", _, "commands"]:
                commands = [
                    {"version": "1", "id": str(9000 + place), "application_id": self.ME, "type": 1} | command
                    for place, command in enumerate(self.calls[-1][1])
                ]
                return answered(commands)
            case "POST", ["channels", _, "messages"] | ["webhooks", _, _]:
                return answered(self.message(str(self.calls[-1][1]["content"]), channel="1", author=me))
            case "POST", ["interactions", number, _, "callback"]:
                return answered({"interaction": {"id": number, "type": 2}})
            case _:
                return web.Response(status=204)

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 500}, "s": None, "t": None})
        async for frame in socket:
            if frame.type != WSMsgType.TEXT:
                break
            said = json.loads(frame.data)
            self.received.append(said)
            if said["op"] == 1:
                await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
            elif said["op"] == 2:
                await self._identified(socket)
            elif said["op"] == 6:
                await self._resumed(socket, said["d"]["seq"])
        return socket

    async def _identified(self, socket: web.WebSocketResponse) -> None:
        if self.intents_close:
            await socket.close(code=self.intents_close)
            return
        self._events.clear()
        url = self.url.replace("http", "ws") + "/gateway"
        application = {"id": self.ME, "flags": 0}
        await self._event("READY", {
            "v": 10, "user": _user(self.ME, "tester", bot=True), "guilds": [{"id": self.GUILD, "unavailable": True}],
            "session_id": "session", "resume_gateway_url": url, "shard": [0, 1], "application": application,
        })  # fmt: skip
        roles = [{"id": number, "name": name, "permissions": "0", "position": 0, "color": 0, "hoist": False,
                  "managed": False, "mentionable": True, "flags": 0, **tags}
                 for number, name, tags in ((self.GUILD, "@everyone", {}),
                                            (self.ROLE, "tester", {"tags": {"bot_id": self.ME}}))]  # fmt: skip
        channel = {"id": self.CHANNEL, "type": 0, "name": "general", "position": 0, "permission_overwrites": []}
        member = {"user": _user(self.ME, "tester", bot=True), "roles": [self.ROLE], "joined_at": _WHEN, "flags": 0}
        await self._event("GUILD_CREATE", {
            "id": self.GUILD, "name": "Friends", "owner_id": "1", "roles": roles, "channels": [channel], "emojis": [],
            "members": [member], "member_count": 2, "threads": [], "stickers": [], "voice_states": [], "presences": [],
            "features": [], "unavailable": False, "large": False, "joined_at": _WHEN, "stage_instances": [],
            "guild_scheduled_events": [], "soundboard_sounds": [],
        })  # fmt: skip

    async def _resumed(self, socket: web.WebSocketResponse, seq: int) -> None:
        if not self.resumable:
            await socket.send_json({"op": 9, "d": False, "s": None, "t": None})
            return
        for event in [event for event in self._events if event["s"] > seq]:
            await socket.send_json(event)
        await self._event("RESUMED", {})

    async def _event(self, name: str, data: dict[str, Any]) -> None:
        event = {"op": 0, "t": name, "s": len(self._events) + 1, "d": data}
        self._events.append(event)
        if self.sockets and not self.sockets[-1].closed:
            await self.sockets[-1].send_json(event)

    def message(self, text: str, channel: str, author: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {
            "id": str(10_000 + len(self._events) + len(self.calls)), "channel_id": channel, "author": author,
            "content": text, "timestamp": _WHEN, "edited_timestamp": None, "tts": False, "mention_everyone": False,
            "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "pinned": False, "type": 0,
            "components": [],
        } | fields  # fmt: skip

    def say(self, text: str, channel: str = "42", user: str = "42", **fields: Any) -> None:
        """A message in a private channel, or in the server's."""
        author = _user(user, "ann") | fields.pop("author", {})
        if channel == self.CHANNEL:
            fields["guild_id"] = self.GUILD
            fields["member"] = {"roles": [], "joined_at": _WHEN, "flags": 0, "deaf": False, "mute": False}
        self.run(self._event("MESSAGE_CREATE", self.message(text, channel, author, **fields)))

    def command(self, name: str, channel: str = "42", user: str = "42") -> None:
        """A slash command of somebody."""
        number = str(20_000 + len(self._events))
        self.run(self._event("INTERACTION_CREATE", {
            "id": number, "application_id": self.ME, "type": 2, "token": f"token-{number}", "version": 1,
            "channel_id": channel, "channel": {"id": channel, "type": 1}, "user": _user(user, "ann"),
            "data": {"id": "9000", "name": name, "type": 1}, "entitlements": [], "authorizing_integration_owners": {},
            "context": 1, "app_permissions": "0", "locale": "en-GB", "attachment_size_limit": 0,
        }))  # fmt: skip

    def drop(self) -> None:
        """End the gateway's connection."""
        self.run(self.sockets[-1].close(code=1001))

    def texts(self, channel: str = "42") -> list[str]:
        """What the bot has said in a channel."""
        return [str(call["content"]) for call in self.called(f"POST channels/{channel}/messages")]


_WHEN = "2026-01-01T00:00:00.000000+00:00"


def _user(number: str, name: str, *, bot: bool = False) -> dict[str, Any]:
    return {"id": number, "username": name, "discriminator": "0", "avatar": None, "global_name": name.title(),
            "bot": bot, "flags": 0, "public_flags": 0}  # fmt: skip
