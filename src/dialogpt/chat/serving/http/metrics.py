"""What the server does, in numbers, in the form that Prometheus reads."""

from typing import Any

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dialogpt.chat.serving.replier import Replier

COUNTED = ("/v1/chat/completions", "/v1/completions")  # routes
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of one server; the replier's are read when needed."""

    def __init__(self, replier: Replier) -> None:
        self._registry = CollectorRegistry()
        self._replier = replier
        self.first_token = Histogram(
            "dialogpt_first_token_seconds",
            "Time from a request to its first text",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.reply = Histogram(
            "dialogpt_reply_seconds", "Time from a request to its whole reply", buckets=SECONDS, registry=self._registry
        )
        for name, what, read in replier.gauges():
            Gauge(name, what, registry=self._registry).set_function(read)
        self._guarded = Counter(
            "dialogpt_safety", "What happened to hypotheses that were not safe", ["reason"], registry=self._registry
        )
        self._counted: dict[str, int] = {}
        self.answers = Counter(
            "dialogpt_answers", "Requests for replies, by the status of the answer", ["route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self.broken = Counter(
            "dialogpt_broken_streams", "Streams begun but not completed, by the status they would have had",
            ["status"], registry=self._registry,
        )  # fmt: skip

    async def page(self) -> Response:
        """All numbers, as text."""
        for reason, count in dict(self._replier.counts).items():
            self._guarded.labels(reason).inc(count - self._counted.get(reason, 0))
            self._counted[reason] = count
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class Counted:
    """Counts an application's answers to requests for replies; 499 if the client left before its answer."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self._app, self._answers = app, metrics.answers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") not in COUNTED:
            await self._app(scope, receive, send)
            return

        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._answers.labels(scope["path"], str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted)
