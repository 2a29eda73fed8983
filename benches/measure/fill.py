"""Fill a ledger with delivered delegations: `python -m measure.fill PATH COUNT`.

One is led through its life by the core; the others are copies of its rows under other ids. That is
done by Python's SQLite, in a process of its own that uses the core's no more.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT ?)"


def fill(path: Path, count: int) -> None:
    """Make the file, with that many delegations."""
    life = f"from measure.durable import live_once; live_once({str(path)!r})"
    subprocess.run([sys.executable, "-c", life], check=True)
    # All over the place, as those are that the core makes, but in an order that is written soon.
    number = f"(n - {count // 2}) * {2**64 // count}"
    others = {"seq": "seq + n", "id": f"printf('deleg_%016x', {number})"}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for table in ("delegations", "long_records", "long_events"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = [others.get(column, column) for column in columns]
            connection.execute(
                f"{_NUMBERS} INSERT INTO {table} ({', '.join(columns)})"
                f" SELECT {', '.join(values)} FROM {table}, numbers",
                (count - 1,),
            )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
