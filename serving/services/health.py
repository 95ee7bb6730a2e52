"""How the server is: `/healthz` tells all, `/readyz` whether new calls are taken, for what routes callers.

Neither does anything slow: both must answer while every thread waits for an engine or a dependency.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from serving.adapters.live_arms import Standing
from serving.plain import plain

if TYPE_CHECKING:
    from serving.call.runtime import Runtime
    from serving.services.live_calls import LiveCalls
    from serving.services.open_calls import OpenCalls


class Threads(Protocol):
    """What is asked of the threads of live calls; see `serving.call.pools.WorkPools`."""

    @property
    def hung(self) -> int:
        """Work that was given up and still occupies a thread."""
        ...

    @property
    def stuck(self) -> tuple[str, ...]:
        """Kinds of work of which nothing is done any more."""
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """Looks at everything that a health check tells.

    Attributes:
        runtime: what all calls share.
        calls: typed calls in progress.
        live: live calls, where there are any.
        reachable: whether what the server depends on answers, by its name.
        threads: those of live calls, where there are any.
        standing: how the server takes part in a split of callers.
    """

    runtime: "Runtime"
    calls: "OpenCalls"
    live: "LiveCalls | None"
    reachable: Callable[[], Mapping[str, bool]]
    threads: Threads | None
    standing: Callable[[], Standing] = Standing

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop."""
        return self.live is not None and self.live.draining  # one without calls has the length 0

    @property
    def hung(self) -> int:
        """Engine work and tools that were given up and still occupy a thread."""
        return self.runtime.hung_tools + (self.threads.hung if self.threads is not None else 0)

    def status(self, answers: Mapping[str, bool], hung: int) -> str:
        """`draining`, `degraded` where something is gone or hangs, or `ok`."""
        if self.draining:
            return "draining"
        return "ok" if all(answers.values()) and not hung else "degraded"

    def refusal(self, answers: Mapping[str, bool]) -> str:
        """Why no new call is taken; empty where one is.

        A call does without the database, which its records wait for, and without tools, which its caller
        hears; but not without a slot.
        """
        if self.draining:
            return "The server is draining."
        if not answers.get("redis", True):
            return "Redis does not answer, so no call gets a slot."
        if self.threads is not None and self.threads.stuck:
            return f"Too much work hangs: {', '.join(self.threads.stuck)}."
        return "All lines are busy." if self.live is not None and self.live.full else ""

    def report(self) -> dict[str, Any]:
        """All that is known, as plain JSON values."""
        served, answers = self.runtime.adapter.current, self.reachable()
        hung = self.hung
        refusal = self.refusal(answers)
        return {
            "status": self.status(answers, hung),
            "ready": not refusal,
            "not_ready_because": refusal,
            "adapter": served.version,
            "adapter_source": served.source,
            "adapter_problem": self.runtime.adapter.problem or None,
            "split": split_report(self.standing()),
            "dialogue_adapter": self.runtime.dialogue.current.version or None,
            "dialogue_adapter_problem": self.runtime.dialogue.problem or None,
            "cache_generation": self.runtime.cache.generation(),
            "engines": plain(self.runtime.choices),
            "active_calls": len(self.calls) + len(self.live or ()),
            "hung_work": hung,
            "draining": self.draining,
            **answers,
        }


def split_report(standing: Standing) -> dict[str, Any] | None:
    """The running split as plain JSON values; None where none runs."""
    split = standing.split
    if split is None:
        return None
    return {
        "id": split.id,
        "champion": split.champion,
        "challenger": split.challenger,
        "percent": split.percent,
        "in_effect": not standing.trouble,
        "not_in_effect_because": standing.trouble,
    }


def add_health_routes(app: FastAPI, health: Health) -> None:
    """Serve both; they run on the event loop, so that no busy thread keeps them waiting."""

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return health.report()

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        refusal = health.refusal(health.reachable())
        body = {"ready": not refusal, "not_ready_because": refusal}
        return JSONResponse(body, status_code=503 if refusal else 200)
