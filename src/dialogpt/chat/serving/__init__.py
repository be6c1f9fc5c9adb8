"""Serving: one model, many conversations, over HTTP.

`http` is the OpenAI-compatible server (extra `server`), `page/` the chat that a browser shows, `serve` the command.
`replier` is what makes the replies, for all requests together (`decoding/batcher.py`): `process`, another process,
whose loop is `decoder`; `worker`, a thread; or `backend`, which asks another engine.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from dialogpt.decoding import ReplyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig(ReplyConfig):
    """Settings of a model that many people talk with at once."""

    model: Annotated[str, "checkpoint folder, run folder, hub name or .pkl file (default: the bundled model)"] = ""
    rows: Annotated[int, "most rows decoded together: requests times hypotheses"] = 64
    queue: Annotated[int, "most requests waiting; further ones are turned away"] = 128
    cache_mb: Annotated[
        int | None,
        "memory for the caches of conversations, in MB (default: 512, or an eighth of what the process may use, "
        "if that is less)",
    ] = None
    log_text: Annotated[bool, "write what is said to the log"] = False
    device: Annotated[str, "auto, cpu, cuda, mps"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig(WorkerConfig):
    """Settings of `serve`: a model -> an OpenAI-compatible server, and a page to chat with it."""

    name: Annotated[str, "what the model is called in requests (default: its folder's name)"] = ""
    host: Annotated[str, "address to listen on: 127.0.0.1 is this machine only"] = "127.0.0.1"
    port: Annotated[int, "port to listen on (0: any free one)"] = 8000
    max_body: Annotated[int, "largest request, in bytes"] = 1 << 20
    api_key: Annotated[str, "key that clients must send (default: DIALOGPT_API_KEY in the environment, else none)"] = ""
    end_timeout: Annotated[int, "seconds to wait for replies under way when the server ends"] = 60
    longest_step: Annotated[
        float, "seconds after which a step of decoding counts as hung, even if it computes (0: never)"
    ] = 1800
    cors: Annotated[tuple[str, ...], "origins whose pages may use the server, such as https://example.org"] = ()
    page: Annotated[bool, "serve a chat page at /"] = True
    backend: Annotated[
        str,
        "URL of an OpenAI-compatible engine that makes the hypotheses (key: DIALOGPT_BACKEND_KEY in the environment);"
        " MODEL is then the model it serves, for its tokenizer and backward companion only; it may be left out",
    ] = ""
    backend_model: Annotated[str, "the model's name there (default: the first one it lists)"] = ""
    backend_route: Annotated[
        Literal["completions", "chat"],
        "completions: a prompt of turns, as our models read them; chat: messages, for models with other templates",
    ] = "completions"
    backend_timeout: Annotated[float, "seconds of silence after which a reply of the backend is given up"] = 60
    backend_wait: Annotated[float, "seconds to wait for the backend when the server starts"] = 600
