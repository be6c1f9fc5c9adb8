"""Pages that may not use a server of this machine alone: those of a foreign name that was made to lead here.

A browser lets a page ask its own host whatever it likes. Whoever owns a name can have it lead to 127.0.0.1 once the
page is loaded (DNS rebinding), and then the browser takes this server for the page's host.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse

from dialogpt.chat.serving.http.errors import error_body


class OwnNames:
    """Answers 403 to pages whose own host this server seems to be, under a name that is neither local nor admitted."""

    def __init__(self, app: Any, admitted: Sequence[str]) -> None:
        self._app, self._admitted = app, admitted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope.get("headers", ())}
        origin, host = headers.get(b"origin", ""), headers.get(b"host", "")
        own = origin.partition("://")[2] == host != ""
        if not own or is_local(host) or not {origin, "*"}.isdisjoint(self._admitted):
            await self._app(scope, receive, send)
            return
        message = f"pages at {origin} may not use this server (--cors {origin} admits them; so does a key)"
        await JSONResponse(error_body(403, message), status_code=403)(scope, receive, send)


def is_this_machine(host: str) -> bool:
    """Whether a server that listens at this address can be reached from this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, or nothing: all addresses
        return False


def is_local(host: str) -> bool:
    """Whether a host, with or without a port, is an address or one of localhost's names: nobody can rebind these."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ip_address(name)
    except ValueError:
        return False
    return True
