"""The settings of `serve --backend` -> its replier: no forward model is loaded here, a backward one when asked for."""

import asyncio
import os
from urllib.parse import urlsplit

from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.backend.backend import Backend
from dialogpt.chat.serving.backend.client import Client
from dialogpt.chat.serving.backend.meeting import meet
from dialogpt.chat.serving.serve import has_rankers, load_rankers
from dialogpt.decoding.loading import load_ranker
from dialogpt.decoding.rerank import Rankers
from dialogpt.decoding.safety import default_guards
from dialogpt.errors import UsageError
from dialogpt.hub import tokenizer_folder
from dialogpt.model.memory import frugal_with_memory
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.opening import END_TEXT


def open_backend(config: ServeConfig) -> tuple[Backend, str]:
    """Wait for the engine; returns the replier, and what the model is called.

    MODEL, if it is named, gives the tokenizer; UsageError for an invalid address.
    """
    frugal_with_memory()
    url, key = backend_url(config.backend), os.environ.get("DIALOGPT_BACKEND_KEY", "").strip()
    tokenizer = Tokenizer.load(tokenizer_folder(config.model)) if config.model else None
    guards = default_guards(config.blocklist)
    loaded = load_rankers(config) if config.mmi else []  # at once, if every reply needs them

    def rankers() -> Rankers:
        return loaded or load_rankers(config)

    meeting = meet(
        url, key, model=config.backend_model, route=config.backend_route,
        end_text=tokenizer.end_text if tokenizer else END_TEXT,
        timeout_s=config.backend_timeout, wait_s=config.backend_wait,
    )  # fmt: skip
    facts = asyncio.run(meeting)
    backend = Backend(
        Client(url, key, config.backend_timeout), facts, guards=guards, tokenizer=tokenizer,
        rankers=rankers if has_rankers(config) else None,
        always=load_ranker(config, device=config.device), most_rows=config.rows, most_waiting=config.queue,
    )  # fmt: skip
    return backend, config.name or facts.model


def backend_url(text: str) -> str:
    """The address that routes are appended to, without its /v1; UsageError for an invalid one."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment:
        raise UsageError(f"--backend {text} is not a server's address", "name one such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise UsageError("--backend contains a password", "set DIALOGPT_BACKEND_KEY in the environment")
    return text.rstrip("/").removesuffix("/v1")
