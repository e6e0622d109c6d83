"""Many recordings on a Ray of this machine, of two workers."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_many import Killer, all_done_once, manifest, record, run

from unmingle.batch.on_ray import address_to_use
from unmingle.errors import InputError


@pytest.fixture
def last_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What the Ray that was started last on this machine left behind: a port, at which nobody listens yet."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray/ray_current_cluster").write_text(f"127.0.0.1:{port.getsockname()[1]}")
        yield port


def test_a_ray_that_was_killed_is_not_waited_for(last_started: socket.socket) -> None:
    assert address_to_use() == "local"


def test_a_ray_that_runs_on_this_machine_is_used(last_started: socket.socket) -> None:
    last_started.listen()
    assert address_to_use() is None


def test_a_dead_address_in_the_environment_is_one_line(
    last_started: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "in/talk.wav")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{last_started.getsockname()[1]}")
    with pytest.raises(InputError, match=r"RAY_ADDRESS 127.0.0.1:\d+: nothing answers there"):
        run([tmp_path / "in"], tmp_path / "out", engine="ray")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=80 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="CRITICAL",
    )
    yield ray
    ray.shutdown()


def test_an_actor_that_is_killed_loses_nothing_and_does_nothing_twice(ray: Any, tmp_path: Path) -> None:
    names = {f"talk-{k}" for k in range(3)}
    for name in names:
        record(tmp_path / f"in/{name}.wav", 2)
    killer = Killer(tmp_path / "out")
    rows = run([tmp_path / "in"], tmp_path / "out", engine="ray", workers=2)
    killer.join()
    assert killer.killed
    all_done_once(rows, tmp_path / "out", names)


@pytest.mark.slow
def test_a_pool_goes_on_with_what_ray_began(ray: Any, tmp_path: Path) -> None:
    record(tmp_path / "in/good.wav")
    (tmp_path / "in/bad.wav").write_text("no sound")
    run([tmp_path / "in"], tmp_path / "out", engine="ray", workers=1)
    before = manifest(tmp_path / "out")
    assert {name: row["status"] for name, row in before.items()} == {"good": "done", "bad": "failed"}
    record(tmp_path / "in/bad.wav")
    assert [(row.folder, row.status) for row in run([tmp_path / "in"], tmp_path / "out")] == [("bad", "done")]
    assert manifest(tmp_path / "out")["good"] == before["good"]
