"""Measures one group in this process, and prints its figures: `python -m measure.worker GROUP`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator

from . import (
    cases_delivery,
    cases_gateway,
    cases_ledger,
    cases_process,
    cases_queue,
    cases_stages,
    cases_text,
)
from .runner import EARNEST, QUICK, Batch, Effort, measure, with_growth

GROUPS: dict[str, Callable[[Effort], Iterator[Batch]]] = {
    "operations": cases_queue.operations,
    "gateway-queue": cases_queue.of_a_gateway,
    "depth": cases_queue.depth,
    "delegations": cases_gateway.delegations,
    "records": cases_gateway.records,
    "arrival": cases_delivery.arrival,
    "turns": cases_delivery.turns,
    "processor": cases_delivery.processor,
    "mailboxes": cases_delivery.mailboxes,
    "stages": cases_stages.stages,
    "notifications": cases_text.notifications,
    "batches": cases_text.batches,
    "plain-data": cases_text.plain_data,
    "ledger": cases_ledger.beside_a_commit,
    "durable-queues": cases_ledger.beside_queues,
    "restored": cases_ledger.restored,
    "stored": cases_ledger.stored,
    "later-ledger": cases_ledger.beside_a_later_gateway,
    "import": cases_process.import_time,
    "wheel": cases_process.wheel_size,
    "queued-memory": cases_process.queued_memory,
    "record-memory": cases_process.record_memory,
    "coroutine-memory": cases_process.coroutine_memory,
}


def main() -> None:
    """Measure the group, and print one figure a line, as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repetitions", type=int)
    options = parser.parse_args()
    effort = QUICK if options.quick else EARNEST
    repetitions = options.repetitions or effort.repetitions
    batches = GROUPS[options.group](effort)
    for figure in with_growth(measure(batches, repetitions)):
        print(json.dumps(figure.to_json()), flush=True)


if __name__ == "__main__":
    main()
