"""Running delegations on worker threads."""

from __future__ import annotations

from hermes_core.delegation import events
from hermes_core.delegation.runners import is_awaitable, is_coroutine_function
from hermes_core.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hermes_core.delegation.delegation import Delegation
    from hermes_core.delegation.lifecycle import Lifecycle, Work


def run(work: Work) -> None:
    """Run a delegation, or publish the end that it came to on an event loop."""
    registry, job, ended = work
    delegation = _next(registry, job) if isinstance(job, list) else job
    if delegation is None:
        log.pass_on()
        return
    if ended is not None:
        registry._end(delegation, ended)
        log.pass_on()
        return
    if delegation.starting is not None and not registry._is_written(delegation):
        return
    if delegation.waits and delegation is job:
        # It is written down, and in the line. Where its turn has come, that is another job.
        registry._start_queued(registry._core.started())
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


def _next(registry: Lifecycle, hand: list[Delegation | None]) -> Delegation | None:
    """The next delegation whose turn has come, if it is to run on this thread."""
    delegation = _taken(registry, hand)
    if delegation is None or delegation.work is None or not registry._is_begun(delegation):
        return None
    if not is_coroutine_function(delegation.work[0]):
        return delegation
    from hermes_core.delegation import coroutines

    try:
        coroutines.start(registry, delegation)
    except Exception as exc:
        if registry._begin(delegation) is not None:
            registry._end(delegation, events.failed(delegation, exc))
    return None


def _taken(registry: Lifecycle, hand: list[Delegation | None]) -> Delegation | None:
    """The delegation in hand, or the next whose turn has come."""
    if hand[0] is None:
        delegation_id = registry._core.next_started(hand)
        if delegation_id is not None and hand[0] is not None:
            # Whoever dispatched it may not have got so far.
            hand[0].record["delegation_id"] = delegation_id
    return hand[0]


def orphaned(work: Work, exc: BaseException) -> None:
    """End a delegation for which no worker could be started."""
    registry, job, ended = work
    delegation = _taken(registry, job) if isinstance(job, list) else job
    if delegation is None:
        return
    if ended is None and registry._begin(delegation):
        ended = events.failed(delegation, exc)
    if ended is not None:
        registry._end(delegation, ended)
    elif delegation.waits:
        registry._end_queued(delegation, events.describe(exc))
