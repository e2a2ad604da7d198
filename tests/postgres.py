"""A PostgreSQL server of the tests' own, where one is installed: in a temporary folder, on a unix socket."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from tests.children import end, keep

from sllm_actors.serving.store.database import read_address

PATIENCE = 60.0
"""Seconds that a start may take."""

NOBODY = "nobody"
"""Who runs the server where the tests run as root, which it refuses."""


def programs() -> Path | None:
    """Return the folder of the server's programs, the newest ones; None where it is not installed."""
    known = Path("/usr/lib/postgresql")  # Debian keeps each version there, and none of them in PATH
    folders = sorted(known.glob("*/bin"), key=lambda each: float(each.parent.name), reverse=True)
    if (found := shutil.which("initdb")) is not None:
        folders.insert(0, Path(found).resolve().parent)
    return next((each for each in folders if (each / "postgres").exists()), None)


def why_not() -> str:
    """Return why there can be no server here, or ""."""
    if importlib.util.find_spec("psycopg") is None:
        return "the driver of PostgreSQL is not installed (psycopg)"
    return "" if programs() else "PostgreSQL is not installed (Debian: postgresql)"


class Postgres:
    """A running server. Its order of texts is that of a language, as that of most servers is."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None, why_not()
        self._programs = found
        self._numbers = itertools.count(1)
        # Not in the folder of the tests' temporary files, which another user cannot enter.
        self.folder = Path(tempfile.mkdtemp(prefix="st-pg-", dir="/tmp"))
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam(NOBODY)
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        options = ("--username=sllm", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        language = ("--locale-provider=icu", "--icu-locale=en-US")
        if self._initialise(*options, *language):
            assert not self._initialise(*options), (self.folder / "log").read_text()
        address = read_address(self.url)
        self._admin = sa.create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self.start()

    def _initialise(self, *options: str) -> int:
        command = [str(self._programs / "initdb"), f"--pgdata={self.folder / 'data'}", *options]
        with (self.folder / "log").open("ab") as log:
            return subprocess.run(
                command, stdout=log, stderr=log, cwd=self.folder, check=False, timeout=60, **self._user
            ).returncode

    def start(self) -> None:
        """Start it; wait until it serves."""
        settings = (
            "listen_addresses=",
            f"unix_socket_directories={self.folder}",
            "shared_buffers=16MB",
            "fsync=off",
        )
        words = [word for each in settings for word in ("-c", each)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data", *words],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._user,
            )
        keep(self._process)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._admin.connect().close()
            except OperationalError:
                waits = self._process.poll() is None and time.monotonic() < deadline
                assert waits, (self.folder / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once, as a crash does; what was committed is kept."""
        self._process.send_signal(signal.SIGQUIT)  # its own processes end with it
        self._process.wait(60)

    @property
    def url(self) -> str:
        """The address of its one database."""
        return f"postgresql://sllm@/postgres?host={self.folder}"

    def new_schema(self) -> str:
        """Make an empty schema, which is cheaper than a database; return an address that leads there."""
        name = f"test_{next(self._numbers)}"
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"

    def close(self) -> None:
        """End it, and leave nothing behind."""
        self.stop()
        end(self._process)
        shutil.rmtree(self.folder)
