"""Serving: one model, many conversations, over HTTP.

`http` is the OpenAI-compatible server (extra `server`), `worker` the thread that decodes for all of its requests
together (`decoding/batcher.py`), `page/` the chat that a browser shows, `serve` the command.
"""

from dataclasses import dataclass
from typing import Annotated

from dialogpt.decoding import ReplyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig(ReplyConfig):
    """Settings of a model that many talk with at once."""

    model: Annotated[str, "checkpoint folder, run folder, hub name or .pkl file (default: the bundled model)"] = ""
    rows: Annotated[int, "most rows decoded together: requests times hypotheses"] = 64
    queue: Annotated[int, "most requests that wait; those beyond them are turned away"] = 128
    cache_mb: Annotated[int, "memory for what conversations have read, in MB"] = 512
    log_text: Annotated[bool, "write what is said into the log"] = False
    device: Annotated[str, "auto, cpu, cuda, mps"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig(WorkerConfig):
    """Settings of `serve`: a model -> an OpenAI-compatible server, and a page to chat with it."""

    name: Annotated[str, "what the model is called in requests (default: its folder's name)"] = ""
    host: Annotated[str, "address to listen at: 127.0.0.1 is this machine alone"] = "127.0.0.1"
    port: Annotated[int, "port to listen at (0: any free one)"] = 8000
    max_body: Annotated[int, "largest request, in bytes"] = 1 << 20
    api_key: Annotated[
        str, "what clients must send as their key (default: DIALOGPT_API_KEY of the environment, or nobody is asked)"
    ] = ""
    cors: Annotated[tuple[str, ...], "origins whose pages may use the server, such as https://example.org"] = ()
    page: Annotated[bool, "show a page to chat at /"] = True
