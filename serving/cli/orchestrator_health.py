"""`orchestrator-health`: whether a running server is well, for people and for what restarts servers."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.console import command_errors, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_DEGRADED = 1
_BUSY = 503
"""What a server answers with that is up but not well."""
_DEPENDENCIES = ("redis", "database", "vllm")


@app.command()
def orchestrator_health(
    url: Annotated[
        str, typer.Option(help="Address of the server; default: VOICEBOT_HOST and VOICEBOT_PORT.")
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.1, max=60.0, help="How long to wait, seconds.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the server says as JSON.")] = False,
) -> None:
    """Ask a server how it is: whether it takes calls, adapter, engines, work that hangs, what it depends on.

    Exit codes: 0 well, 1 degraded or draining, 2 bad input, 4 it does not answer.
    """
    with command_errors():
        from serving.cli.server_url import answer_of, client, server_url
        from serving.errors import UnavailableError
        from serving.settings import Settings

        with client(server_url(Settings.load(), url), timeout) as asked:
            health = answer_of(asked, "/healthz", also=_BUSY)
        if not isinstance(health.get("status"), str):
            raise UnavailableError(
                "What answers there does not say how it is.", advice="Name an orchestrator with --url."
            )
    if as_json:
        print_json(health)
    else:
        print_table("Orchestrator", ("what", "value"), _rows(health))
    if not well(health):
        raise SystemExit(_DEGRADED)


def well(health: "Mapping[str, Any]") -> bool:
    """Whether a server is neither degraded nor draining; all lines may be busy."""
    gone = any(health.get(name) is False for name in _DEPENDENCIES)
    return health["status"] == "ok" and not health.get("draining") and not gone


def _rows(health: "Mapping[str, Any]") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in health.items():
        label = name.replace("_", " ")
        if name == "engines" and isinstance(value, list):
            rows += [(f"engine, {_of(item, 'role')}", _engine(item)) for item in value]
        elif name == "split" and isinstance(value, dict):
            rows.append((label, _split(value)))
        elif name == "ready":
            rows.append(("takes calls", "yes" if value else f"no: {health.get('not_ready_because', '–')}"))
        elif name == "not_ready_because":
            continue
        elif name in _DEPENDENCIES:
            rows.append((label, {True: "answers", False: "does not answer"}.get(value, "not used")))
        elif isinstance(value, bool):
            rows.append((label, "yes" if value else "no"))
        else:
            rows.append((label, "–" if value is None else value))
    return rows


def _engine(item: object) -> str:
    return f"{_of(item, 'name')} ({_of(item, 'model')}): {_of(item, 'reason')}"


def _split(split: "Mapping[str, Any]") -> str:
    said = f"{split.get('challenger', '–')} gets {split.get('percent', '–')} %"
    return said if split.get("in_effect") else f"NOT IN EFFECT: {split.get('not_in_effect_because', '–')}"


def _of(item: object, name: str) -> str:
    return str(item.get(name, "–")) if isinstance(item, dict) else "–"


if __name__ == "__main__":
    app()
