"""Running delegations on worker threads."""

from __future__ import annotations

from hermes_core.delegation import events
from hermes_core.delegation.runners import is_awaitable
from hermes_core.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hermes_core.delegation.lifecycle import Work


def run(work: Work) -> None:
    """Run a delegation, or publish the end that it came to on an event loop."""
    registry, delegation, ended = work
    if ended is not None:
        registry._end(delegation, ended)
        log.pass_on()
        return
    if delegation.starting is not None and not registry._is_written(delegation):
        return
    first = registry._core.begin(delegation.record["delegation_id"], delegation)
    if first is None:
        return
    if not first:
        # Its runner was under way when something was thrown into this thread.
        exc = RuntimeError("its worker was interrupted")
        registry._end(delegation, events.failed(delegation, exc))
        return
    assert delegation.work is not None
    runner, context = delegation.work
    raised: BaseException | None
    try:
        result = context.run(runner)
        if type(result) is not dict and is_awaitable(result):
            from hermes_core.delegation import coroutines

            coroutines.adopt(registry, delegation, result)
            return
        ended, raised = events.returned(delegation, result)
    except BaseException as exc:
        ended, raised = events.failed(delegation, exc), exc
    registry._end(delegation, ended)
    if raised is not None:
        # After the end, so that a log handler that hangs holds no permit.
        log.exception(
            raised, "delegation %s: its runner raised", delegation.record["delegation_id"]
        )
    log.pass_on()


def orphaned(work: Work, exc: BaseException) -> None:
    """End a delegation for which no worker could be started."""
    registry, delegation, ended = work
    if ended is None and registry._begin(delegation):
        ended = events.failed(delegation, exc)
    if ended is not None:
        registry._end(delegation, ended)
