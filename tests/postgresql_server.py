"""A real PostgreSQL for tests: made in a temporary folder, reached by a socket in it, gone afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path


def _program(name):
    installed = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    return shutil.which(name) or (str(max(installed)) if installed else None)


MISSING = [name for name in ("initdb", "postgres", "pg_isready") if _program(name) is None]
WHY_NOT = f"PostgreSQL is not installed ({', '.join(MISSING)} not found); on Debian: apt install postgresql"


class Server:
    """`url` works between `start` and `stop`; a server that was stopped keeps its data until `remove`."""

    def __init__(self):
        # The path of a socket is short, and PostgreSQL refuses to run as root.
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        self._as = {}
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                user = pwd.getpwnam("nobody")
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.url = f"postgresql+psycopg://recfuse@/postgres?host={self.folder}"
        self._process = None
        command = [_program("initdb"), "-D", self.folder / "data", "-U", "recfuse", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*command, "--locale=C", "--no-sync"], check=True, capture_output=True, cwd=self.folder, **self._as
        )

    def start(self):
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self.folder / "data", *settings],
                stdout=log, stderr=log, cwd=self.folder, **self._as,
            )  # fmt: skip
        end = time.monotonic() + 60
        while subprocess.run([_program("pg_isready"), "-q", "-h", self.folder], capture_output=True).returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)
        return self

    def stop(self):
        if self._process is not None:
            self._process.send_signal(2)
            self._process.wait(60)
            self._process = None

    def freeze(self):
        """Stops all its processes where they are: who is connected waits, and so does who connects."""
        # The postmaster first, so that nothing is started meanwhile.
        for number in (self._process.pid, *self._children()):
            os.kill(number, signal.SIGSTOP)

    def thaw(self):
        """Lets them go on."""
        for number in (*self._children(), self._process.pid):
            os.kill(number, signal.SIGCONT)

    def _children(self):
        found = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [int(number) for number in found]

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)
