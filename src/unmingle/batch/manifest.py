"""What became of each recording of many: a table on disk, kept up to date, of which one run at a time is
master.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as version_of
from io import BytesIO
from threading import Event, RLock, Thread
from typing import Any, Self

from unmingle.batch.places import below, read_bytes, remove, write_bytes
from unmingle.errors import InputError, UnmingleError, UsageError

NAME, CLAIM = "manifest.parquet", ".unmingle-run.json"
DONE, FAILED, WAITING = "done", "failed", "waiting"
SHARE = 20  # time between two writings of the table, in times of one
ALIVE_S, DEAD_S = 10.0, 90.0  # how often a run gives a sign of life, and after how long it is taken as dead


@dataclass
class Row:
    """A recording: docs/batch.md explains the columns, which these are."""

    input: str
    folder: str
    status: str = WAITING
    outputs: list[str] = field(default_factory=list)
    seconds: float | None = None
    segments: list[dict[str, Any]] | None = None
    speakers: int | None = None
    speed: float | None = None
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    model: str | None = None
    sample_rate: int | None = None
    n_samples: int | None = None
    attempts: int = 0
    worker: str | None = None
    version: str = field(default_factory=lambda: version_of("unmingle"))
    finished: float | None = None

    @property
    def is_ours(self) -> bool:
        """Whether what lies in its folder is a run's of this manifest: it was refused before it was begun if
        not.
        """
        return self.status != FAILED or self.attempts > 0


def schema() -> Any:
    """The columns and their types; UsageError if pyarrow is missing."""
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(
            "a manifest of many recordings needs pyarrow: pip install 'unmingle[batch]'"
        ) from None
    text, real, whole = pa.string(), pa.float64(), pa.int64()
    segment = pa.struct([("speaker", text), ("start_s", real), ("end_s", real)])
    return pa.schema(
        {
            "input": text,
            "folder": text,
            "status": text,
            "outputs": pa.list_(text),
            "seconds": real,
            "segments": pa.list_(segment),
            "speakers": whole,
            "speed": real,
            "error": text,
            "notes": pa.list_(text),
            "model": text,
            "sample_rate": whole,
            "n_samples": whole,
            "attempts": whole,
            "worker": text,
            "version": text,
            "finished": pa.timestamp("ms", "UTC"),
        }
    )


def to_parquet(rows: Iterable[Row], about: dict[str, Any]) -> bytes:
    """A table of rows, and in its metadata what they were made with."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = [asdict(row) for row in rows]
    for value in values:
        value["finished"] = None if value["finished"] is None else round(1000 * value["finished"])
    table = pa.Table.from_pylist(values, schema().with_metadata({"unmingle": json.dumps(about)}))
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(content: bytes, place: str) -> tuple[list[Row], dict[str, Any]]:
    """The reverse; InputError if it is no such table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(BytesIO(content))
        about = json.loads((table.schema.metadata or {})[b"unmingle"])
        rows = [Row(**value) for value in table.cast(schema()).to_pylist()]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        wrong = " ".join(str(error).split())
        remedy = "choose another output folder, or remove it"
        raise InputError(
            f"{place}: no manifest of this version of unmingle ({wrong:.200}); {remedy}"
        ) from None
    for row in rows:
        row.finished = row.finished.timestamp() if row.finished else None  # type: ignore[attr-defined]
    return rows, about


class Manifest:
    """The manifest of an output folder; a context manager, in which no other run may write to it.

    The table is written anew after a result, though never more than a twentieth of the time; whole, so that
    it is there at any moment. Of a run that is killed the last results may be missing in it: they are made
    again.

    Attributes:
        place: of the table.
        rows: by input.
        about: what the results are made with.

    Args:
        out: the output folder.
        about: task and options.
        usual: what an option is that `about` leaves out.
        overwrite: begin anew where the folder holds results that were made with others.

    Raises:
        InputError: another run is writing there, or there is a manifest that was made otherwise.
    """

    def __init__(
        self, out: str, about: dict[str, Any], usual: dict[str, Any], overwrite: bool = False
    ) -> None:
        schema()
        self.place, self.about, self.rows = (
            below(out, NAME),
            json.loads(json.dumps(about, default=str)),
            dict[str, Row](),
        )
        self._claim, self._usual, self._overwrite = below(out, CLAIM), usual, overwrite
        self.run = secrets.token_hex(6)
        self._lock, self._stop, self._lost = RLock(), Event(), ""
        self._written, self._cost_s, self._dirty = 0.0, 0.0, False

    def __enter__(self) -> Self:
        other = self._master()
        if other and _is_alive(other):
            who = f"on {other['host']}, process {other['pid']}"
            remedy = (
                f"wait for it, or choose another output folder; if it is dead, try again in {DEAD_S:.0f} s"
            )
            raise InputError(f"{self.place}: another run ({who}) is writing it; {remedy}")
        self._sign()
        try:
            self._check()
            if content := read_bytes(self.place):
                rows, about = from_parquet(content, self.place)
                if about == self.about or not any(row.status == DONE for row in rows):
                    self.rows = {row.input: row for row in rows}
                elif not self._overwrite:
                    differ = difference(about, self.about, self._usual)
                    raise InputError(f"{self.place}: made with other options ({differ}); {OTHER}")
        except BaseException:
            self._release()
            raise
        self._keeper = Thread(target=self._keep, daemon=True)
        self._keeper.start()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._stop.set()
            self._keeper.join()
            if not self._lost:
                self.write()
        finally:
            self._release()

    def add(self, row: Row) -> None:
        """Note what became of a recording."""
        with self._lock:
            if self._lost:
                raise InputError(self._lost)
            self.rows[row.input] = row
            self._dirty = True
            if time.monotonic() - self._written >= SHARE * self._cost_s:
                self.write()

    def write(self) -> None:
        """Write the table now."""
        with self._lock:
            began = time.monotonic()
            self._check()
            write_bytes(self.place, to_parquet(self.rows.values(), self.about))
            self._written, self._dirty = time.monotonic(), False
            self._cost_s = self._written - began

    def _keep(self) -> None:
        while not self._stop.wait(ALIVE_S):
            try:
                with self._lock:
                    self._check()
                    self._sign()
                    if self._dirty:
                        self.write()
            except UnmingleError as error:
                if self._lost:
                    return
                if self._master_or_none() is None:  # unreachable for now
                    continue
                self._lost = str(error)
                return

    def _master(self) -> dict[str, Any] | None:
        try:
            found = json.loads(read_bytes(self._claim) or "null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _master_or_none(self) -> dict[str, Any] | None:
        try:
            return self._master()
        except UnmingleError:
            return None

    def _sign(self) -> None:
        sign = {"run": self.run, "host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
        write_bytes(self._claim, json.dumps(sign).encode())

    def _check(self) -> None:
        master = self._master()
        if master is not None and master.get("run") != self.run:
            self._lost = f"{self.place}: another run has taken it over; this one stops"
            raise InputError(self._lost)

    def _release(self) -> None:
        master = self._master_or_none()
        if master is not None and master.get("run") == self.run:
            remove(self._claim)


OTHER = "give the same ones, choose another output folder, or begin anew with --overwrite"


def difference(before: dict[str, Any], now: dict[str, Any], usual: dict[str, Any]) -> str:
    """In which options two runs differ."""
    names = dict.fromkeys(name for name in (*before, *now) if before.get(name) != now.get(name))
    before, now = usual | before, usual | now
    return ", ".join(f"{name}: {_shown(before.get(name))}, now {_shown(now.get(name))}" for name in names)


def _shown(value: Any) -> str:
    return "the default" if value is None else str(value)


def _is_alive(other: dict[str, Any]) -> bool:
    """Whether a run has given a sign of life lately, and on this machine its process is there."""
    if abs(time.time() - float(other.get("time", 0))) > DEAD_S:
        return False
    return other.get("host") != socket.gethostname() or process_is_there(int(other.get("pid", 0)))


def process_is_there(pid: int) -> bool:
    """Whether a process of that number runs on this machine; on Windows nothing is asked."""
    if os.name == "nt":
        return True  # there, signal 0 is Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
