"""A hundred visitors of the page at once, each with a recording of their own. Linux.

    python benchmarks/visitors.py
    python benchmarks/visitors.py --n 10 --max-waiting 4

`unmingle serve` runs in a process of its own; the visitors are threads of this one. Half of them upload a
recording, have it separated, download all results, check that these are theirs, and delete them. The others
cancel, break off an upload, send garbage, ask for what others have, or leave while a job runs. Who is told to
come back does so when they were told to. Meanwhile somebody loads the page again and again, and the system
says how much memory the server has and how many open files.
"""

import argparse
import contextlib
import http.client
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import report
from soak import Look, look
from visitor import DOINGS, Server, Visit, Visitor


@contextlib.contextmanager
def watched(server: Server, visit: Visit, looks: list[Look], every_s: float = 0.5) -> Iterator[None]:
    """Meanwhile the page is loaded, and the server looked at, again and again."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            visit.note("page, meanwhile", answer.status, time.monotonic() - began)
            looks.append(look(server.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Outcome(NamedTuple):
    """What came of the visits.

    Attributes:
        visit: what they noted.
        before, after: the server, before anybody came (but one), and when all had gone.
        looks: the same meanwhile.
        seconds: that it took.
        left: files and folders of visitors that are still there, and all that is there when it has ended.
        log: what the server said of errors.
    """

    visit: Visit
    before: Look
    after: Look
    looks: list[Look]
    seconds: float
    left: list[str]
    log: str


def visit(n: int, folder: Path, max_waiting: int) -> Outcome:
    """Let `n` visitors come at once, to a server whose files are in an empty folder."""
    noted, looks = Visit(), list[Look]()
    limits = "--max-size-gb", "0.002", "--max-waiting", str(max_waiting)
    with Server(folder, *limits) as server:
        first = Visitor(0, server, Visit())  # what is loaded once is loaded now
        first.separates()
        before = look(server.pid)

        def come(number: int) -> None:
            try:
                visitor = Visitor(number, server, noted)
                DOINGS[number % len(DOINGS)](visitor)
                visitor.served()
            except Exception as error:
                with noted.lock:
                    noted.faults.append(f"visitor {number}: {type(error).__name__}: {error}")

        threads = [threading.Thread(target=come, args=(number,)) for number in range(n)]
        began = time.monotonic()
        with watched(server, noted, looks):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        seconds = time.monotonic() - began
        time.sleep(2)
        left, after = server.files(), look(server.pid)
    left += [str(path) for path in folder.rglob("*")]
    return Outcome(noted, before, after, looks, seconds, left, server.log)


def tables(n: int, outcome: Outcome) -> list[str]:
    """What is printed."""
    noted = outcome.visit
    rows = []
    for kind, waits in sorted(noted.waits.items()):
        codes = sorted((code, times) for (its, code), times in noted.codes.items() if its == kind)
        rows.append(
            {
                "request": kind,
                "answers": ", ".join(f"{times} × {code}" for code, times in codes),
                "median [ms]": 1e3 * float(np.median(waits)),
                "95 % within [ms]": 1e3 * float(np.percentile(waits, 95)),
                "longest [ms]": 1e3 * max(waits),
            }
        )
    most = max(outcome.looks, key=lambda each: each.rss_mb)
    server = [
        {"server": "", "memory [MB]": each.rss_mb, "open files": each.n_files, "threads": each.n_threads}
        | {"server": name}
        for name, each in (
            ("before", outcome.before),
            ("when it had most memory", most),
            ("after", outcome.after),
        )
    ]
    errors = sum(times for (_, code), times in noted.codes.items() if code >= 500 and code != 503)
    return [
        f"{n} visitors in {outcome.seconds:.0f} s: {noted.served} served, {len(noted.faults)} faults, "
        f"{errors} errors of the server; {noted.come_back} times somebody was told to come back. Most open "
        f"files at once: {max(each.n_files for each in outcome.looks)}. Left over: {len(outcome.left)}; "
        f"lines in the server's log: {len(outcome.log.splitlines())}.",
        report.table(rows),
        report.table(server),
        *noted.faults[:20],
        *([f"```\n{outcome.log[-3000:]}\n```"] if outcome.log else ()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100, help="how many visitors")
    parser.add_argument("--max-waiting", type=int, default=10, help="that of the server")
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: 10 visitors; nothing is kept"
    )
    options = parser.parse_args()
    n = 10 if options.quick else options.n
    before = report.machine()
    with tempfile.TemporaryDirectory() as name:
        outcome = visit(n, Path(name), 3 if options.quick else options.max_waiting)
    report.publish("visitors", [before, *tables(n, outcome)], keep=not options.quick)
    sys.exit(bool(outcome.visit.faults or outcome.left or outcome.log))


if __name__ == "__main__":
    main()
