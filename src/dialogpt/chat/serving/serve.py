"""The `serve` command: a model, or another engine that has one -> a server that runs until told to end."""

import asyncio
import errno
import gc
import logging
import os
import re
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType

from dialogpt import allotment
from dialogpt.chat.serving import ServeConfig, WorkerConfig
from dialogpt.chat.serving.process import WorkerProcess
from dialogpt.chat.serving.replier import Replier
from dialogpt.chat.serving.worker import Worker
from dialogpt.decoding.batcher import Batcher
from dialogpt.decoding.loading import companion_of, load_backward, load_engine, load_ranker
from dialogpt.decoding.rerank import Ranker, mmi_rankers
from dialogpt.decoding.safety import default_guards
from dialogpt.errors import UsageError, check_least, given
from dialogpt.hub import BUNDLED, model_path
from dialogpt.model.memory import frugal_with_memory
from dialogpt.process import interrupts_later

log = logging.getLogger(__name__)

CACHE_BYTES = 512 * 10**6
BACKLOG = 2048  # connections waiting to be accepted
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\sA-Z]+")  # compared letter by letter with what a browser sends


def serve(config: ServeConfig) -> None:
    """Serve the model until Ctrl-C or SIGTERM; replies that are being made are completed first."""
    _check(config)
    config = replace(config, api_key=config.api_key or os.environ.get("DIALOGPT_API_KEY", ""))
    listening = _listen(config.host, config.port)
    with listening, ExitStack() as ends:
        apart = not config.backend and os.name != "nt"
        process = WorkerProcess(config, config.longest_step) if apart else None  # starts loading
        if process:
            ends.callback(process.close)
        try:
            with interrupts_later():
                import psutil  # noqa: F401  # which `watch` needs when the model is loaded
                import uvicorn

                from dialogpt.chat.serving.backend.opening import open_backend
                from dialogpt.chat.serving.http.api import make_app
                from dialogpt.chat.serving.http.origins import is_this_machine
                from dialogpt.limits import Requests
        except ImportError as error:
            needs = "serve needs FastAPI, httptools, httpx, psutil and uvicorn"
            raise UsageError(needs, 'pip install "dialogpt[server]"') from error
        replier, name = open_backend(config) if config.backend else open_worker(config, process)
        ends.callback(replier.close)
        warn_of_mmi(config, replier)
        gc.collect()
        gc.freeze()  # what is loaded stays: collecting through all of it takes 30 ms, while replies wait
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        host, port = listening.getsockname()[:2]

        class Server(uvicorn.Server):
            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                self.force_exit = self.should_exit  # uvicorn hurries only at a second Ctrl-C
                super().handle_exit(sig, frame)

        server = Server(
            uvicorn.Config(
                make_app(config, replier, name), log_level="warning", access_log=False, server_header=False,
                timeout_graceful_shutdown=config.end_timeout, http=Requests,
            )
        )  # fmt: skip
        if not config.api_key and not is_this_machine(host):
            log.warning("no key is asked for: whoever can reach %s may use this server (set DIALOGPT_API_KEY)", host)
        log.info("%s is at http://%s:%d", name, f"[{host}]" if ":" in host else host, port)
        server.run(sockets=[listening])
    for reason, count in sorted(replier.counts.items()):
        log.info("safety: %s: %d", reason, count)


def open_worker(config: ServeConfig, process: WorkerProcess | None = None) -> tuple[Replier, str]:
    """The model in that process, or in a thread of this one, and what it is called."""
    if process:
        replier: Replier = process.ready()
    else:
        frugal_with_memory()
        replier = Worker(load_batcher(config), config)
    return replier, model_name(config)


def load_batcher(config: WorkerConfig) -> Batcher:
    """The model with its guards, and the backward model if there is one."""
    engine, tokenizer = load_engine(config.model, device=config.device, precision=config.precision)
    return Batcher(
        engine, tokenizer, guards=default_guards(config.blocklist),
        rankers=load_rankers(config) if has_rankers(config) else [], always=load_ranker(config, device=config.device),
        cache_bytes=cache_bytes(config),
    )  # fmt: skip


def cache_bytes(config: WorkerConfig) -> int:
    """How much the caches of conversations may hold."""
    return int(min(CACHE_BYTES, allotment.memory() / 8)) if config.cache_mb is None else config.cache_mb * 10**6


def load_rankers(config: WorkerConfig) -> list[tuple[Ranker, float]]:
    """The backward model that is named, or the model's companion."""
    backward = load_backward(config.backward, config.model or None, device=config.device, precision=config.precision)
    return mmi_rankers(backward, config)


def has_rankers(config: WorkerConfig) -> bool:
    """Whether there is a backward model: it is asked for, or the model has a companion."""
    return bool(config.mmi or config.backward or companion_of(config.model or None))


def model_name(config: ServeConfig) -> str:
    """What clients call the model."""
    if config.name:
        return config.name
    path = model_path(config.model or None)
    if path == BUNDLED:
        return "dialogpt-bundled"
    asked = Path(config.model)  # a run folder is what users know, not the checkpoint in it
    return (asked if asked.is_dir() else path).resolve().name if path.exists() else config.model


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """False for what is cancelled at the end: not an error, so its traceback is not logged."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (cancelled or record.getMessage().rstrip().endswith("asyncio.exceptions.CancelledError"))


def _check(config: ServeConfig) -> None:
    check_least(config, rows=1, queue=1, max_body=1, cache_mb=0, end_timeout=0)
    if not 0 <= config.port < 1 << 16:
        raise UsageError(f"--port {config.port} is not a port", "name one from 1 to 65535, or 0 for any free one")
    for name in ("backend_timeout", "backend_wait"):
        if not 0 < getattr(config, name) < float("inf"):
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(config, name)} is not a time", "name a number of seconds above 0"
            )
    if not 0 <= config.longest_step < float("inf"):
        raise UsageError(
            f"--longest-step {config.longest_step} is not a time", "name a number of seconds, or 0 for no limit"
        )
    _check_all_is_read(config)
    for origin in config.cors:
        if not _ORIGIN.fullmatch(origin):
            raise UsageError(
                f"--cors {origin} is not an origin as browsers send it",
                "name one such as https://example.org: lower case, nothing after host and port; or * for all",
            )


def _check_all_is_read(config: ServeConfig) -> None:
    """UsageError for settings that would be ignored."""
    of_backend = given(config, "backend_model", "backend_route", "backend_timeout", "backend_wait")
    if of_backend and not config.backend:
        raise UsageError(
            f"--{of_backend[0].replace('_', '-')} without --backend", "name the engine's address: --backend URL"
        )
    if (of_ours := given(config, "cache_mb", "longest_step")) and config.backend:
        raise UsageError(
            f"--{of_ours[0].replace('_', '-')} with --backend, which decodes elsewhere", "leave one of them out"
        )
    check_draws(config, "serve")


def warn_of_mmi(config: ServeConfig, replier: Replier) -> None:
    """Warn of settings for MMI, which requests may ask for, if there is no backward model."""
    if (of_mmi := given(config, "mmi_source", "forward_weight")) and not replier.ranks:
        name = of_mmi[0].replace("_", "-")
        log.warning("--%s is not used: the model has no backward companion, and --backward names none", name)


def check_draws(config: WorkerConfig, command: str) -> None:
    """UsageError for settings of beam search, which decodes one conversation at a time."""
    if of_beams := given(config, "num_beams", "length_penalty"):
        name = of_beams[0].replace("_", "-")
        raise UsageError(f"{command} draws its replies: --{name} is for generate and chat", "leave it out")


def _listen(host: str, port: int) -> socket.socket:
    """A socket at the address, before the model is loaded, so that a port in use is reported at once."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        hint = "name another --port"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            hint = "--host is an address of this machine: 127.0.0.1, ::1 (without brackets), 0.0.0.0 or :: for all"
        raise UsageError(f"--host {host} --port {port} cannot be listened on: {reason}", hint) from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a piece waits 40 ms for an acknowledgement
    return listening
