"""An S3 of this machine for the tests: `from stores import s3`."""

from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system on a fresh server with the empty buckets `calls` and `voices`; found as any S3 is, by the
    environment.
    """
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    s3fs.S3FileSystem.clear_instance_cache()  # an earlier test's server is gone
    store = s3fs.S3FileSystem(use_listings_cache=False)
    for bucket in ("calls", "voices"):
        store.mkdir(bucket)
    yield store
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
