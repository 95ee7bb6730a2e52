"""A person's yes before a promotion: the flow pauses, asks, and goes on with the answer.

The run stays where it is while it waits (Prefect's pause, not its suspension): its process keeps the verdict
in hand and nothing is judged twice. Silence is no: without an answer in time, or with a resume that says
nothing, nothing is promoted. Whether whoever answers may do so is a matter of who may reach Prefect's server.
"""

from typing import TYPE_CHECKING

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput

from flows.progress import report
from serving.errors import RefusedError

if TYPE_CHECKING:
    from flows.judging import Verdict

POLL_S = 2
"""How often a waiting run looks for the answer, in seconds."""


class Approval(RunInput):
    """What a person answers; Prefect's page shows it as a form.

    Attributes:
        approve: yes or no.
        by: who answers; needed for a yes.
        reason: why, for the audit.
    """

    approve: bool = False
    by: str = ""
    reason: str = ""


def approved(name: str, verdict: "Verdict", timeout_s: int) -> dict[str, str]:
    """Pause the run of the flow until somebody answers.

    Args:
        name: registered model.
        verdict: what the gate said; shown to whoever decides.
        timeout_s: how long an answer is waited for, in seconds.

    Returns:
        Evidence for the audit: who approved, and why.

    Raises:
        RefusedError: the answer is no, nobody signed it, or there was none in time.
    """
    label = f"{name}/{verdict.version}"
    report("approval", 0, 1, f"waiting up to {timeout_s} s for a yes to {label}")
    try:
        answer = pause_flow_run(
            wait_for_input=Approval.with_initial_data(description=_question(label, verdict)),
            timeout=timeout_s,
            poll_interval=POLL_S,
        )
    except FlowPauseTimeout as error:
        raise RefusedError(
            f"Nobody approved the promotion of {label} within {timeout_s} s.",
            advice="Start it again; the gate's decision stands as long as the champion does.",
        ) from error
    if not answer.approve:
        who = answer.by.strip() or "whoever resumed the run"
        raise RefusedError(f"{who} did not approve the promotion of {label}. {answer.reason}".strip())
    if not answer.by.strip():
        raise RefusedError(f"The approval of {label} says yes, but not who says so.", advice="Fill in `by`.")
    report("approval", 1, 1, f"{label}, by {answer.by}")
    return {"approved.by": answer.by.strip(), "approved.reason": answer.reason.strip()}


def _question(label: str, verdict: "Verdict") -> str:
    """What whoever decides gets to read."""
    champion = verdict.champion_version
    against = f"champion {champion}" if champion else "no champion yet"
    words = {True: "passed", False: "FAILED", None: "does not apply"}
    checks = "\n".join(
        f"- {check.name}: {words[check.passed]}. {check.detail}" for check in verdict.decision.checks
    )
    return (
        f"Make **{label}** the champion? The gate says **{verdict.decision.status}**, against {against} "
        f"(decision {verdict.decision.sha256[:12]}).\n\n{checks}"
    )
