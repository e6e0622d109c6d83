"""Workers on a Ray cluster, or on a Ray of this machine: actors of Ray Data, a task per recording."""

import json
import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unmingle.batch.items import Item
from unmingle.batch.manifest import Row
from unmingle.batch.worker import Job, Worker, given_up
from unmingle.errors import InputError, UsageError

KNOCK_S = 5.0  # how long a cluster may take to accept a connection; Ray itself tries for minutes


def run_on_ray(job: Job, items: Sequence[Item], n_workers: int | None) -> Iterator[Row]:
    """Process items by `n_workers` actors, one per core of the cluster unless given; their rows as they are
    done.

    Ray starts an actor that died anew, and the task that it was at, `job.retries` times.
    """
    with _cluster() as ray:
        n_cores = int(ray.cluster_resources().get("CPU", 1))
        if n_workers is not None and n_workers > n_cores:
            raise UsageError(
                f"--workers {n_workers}: the cluster has {n_cores} cores; ask for as many at most"
            )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        context.max_errored_blocks = -1  # the others go on
        most = min(n_workers or n_cores, len(items))
        strategy = ray.data.ActorPoolStrategy(
            min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=1
        )

        class Actor:
            """A `Worker` as Ray Data calls it: JSON in, JSON out, so that no types are guessed."""

            def __init__(self) -> None:
                self._work = Worker(job)

            def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
                return {"row": json.dumps(asdict(self._work(Item(**json.loads(values["item"])))))}

        rows = [{"item": json.dumps(asdict(item))} for item in items]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray 2.60 announces another name for the number of retries
            done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                Actor,
                compute=strategy,
                num_cpus=1,
                max_task_retries=job.retries,
            )
        missing = {item.input: item for item in items}
        for block in done.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            for text in block["row"].to_pylist():
                row = Row(**json.loads(text))
                missing.pop(row.input, None)
                yield row
        for item in missing.values():
            yield given_up(item, job.retries + 1, "see Ray's logs")


def import_ray() -> Any:
    """Ray with its data, and silent; UsageError if it is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install 'unmingle[cluster]'") from None
    return ray


def address_to_use() -> str | None:
    """What `ray.init` is told: "local", a Ray of one's own, where the one that was started last on this
    machine is dead (a Ray that was killed leaves its address behind); otherwise None, and Ray chooses.

    Raises:
        InputError: nothing answers at RAY_ADDRESS.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given not in ("", "auto"):
        if given != "local" and not _answers(given):
            remedy = "start the cluster, or correct or unset RAY_ADDRESS"
            raise InputError(f"RAY_ADDRESS {given}: nothing answers there; {remedy}")
        return None
    try:
        left = (_ray_folder() / "ray_current_cluster").read_text().strip()
    except OSError:
        return None
    return None if not left or _answers(left) else "local"


def _ray_folder() -> Path:
    """Where Ray notes which Ray was started last, as Ray 2.60 finds it."""
    temporary = "/tmp" if sys.platform in ("linux", "darwin") else tempfile.gettempdir()
    if sys.platform == "linux":
        temporary = os.environ.get("TMPDIR", temporary)
    return Path(os.environ.get("RAY_TMPDIR", temporary), "ray")


def _answers(address: str) -> bool:
    """Whether `host:port` accepts a connection; what is no such address is Ray's to judge."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
    except OSError:
        return False
    return True


@contextmanager
def _cluster() -> Iterator[Any]:
    """The Ray that this process is connected to; otherwise that of RAY_ADDRESS or of this machine, or one
    that is started here, and is left or ended afterwards.
    """
    ray = import_ray()
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    begun = not ray.is_initialized()
    if begun:
        address = address_to_use()
        try:
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError, ValueError) as error:
            wrong = " ".join(str(error).split())
            raise InputError(f"Ray cannot be reached or started ({wrong:.200}); check RAY_ADDRESS") from None
    try:
        yield ray
    finally:
        if begun:
            ray.shutdown()
