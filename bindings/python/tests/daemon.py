"""Daemons for the tests: real processes on loopback, each in a directory of its own, ended with the test."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import typing

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAMS = pathlib.Path(os.environ.get("LATTICE_BIN_DIR", ROOT / "target" / "debug"))


class Node:
    """A host of a cluster of one or two."""

    def __init__(
        self,
        node: int = 1,
        peers: typing.Sequence[int] = (),
        base_port: int | None = None,
        cells: int = 4096,
        workers: int = 1,
    ) -> None:
        self._home = tempfile.TemporaryDirectory()
        self.directory = pathlib.Path(self._home.name)
        self._process: subprocess.Popen[str] | None = None
        base_port = base_port or free_base_port([node, *peers])
        config = f"""
            [cluster]
            name = "python"
            [node]
            id = {node}
            name = "host-{node}"
            [network]
            address = "127.0.0.{node}"
            base_port = {base_port}
            port = "udp"
            [workers]
            cores = {list(range(workers))}
            idle = "sleep"
            [paths]
            directory = "{self.directory}/run"
            [storage]
            directory = "{self.directory}/data"
            [limits]
            segment_cells_per_worker = {cells}
            segment_extent_bytes_per_worker = 4194304
            change_ring_entries = 1024
            [timers]
            segment_heartbeat_timeout_ms = 60000
        """
        for peer in peers:
            config += f'\n[[peers]]\nid = {peer}\naddress = "127.0.0.{peer}"\n'
        (self.directory / "latticed.toml").write_text(config)

    @property
    def socket(self) -> pathlib.Path:
        return self.directory / "run" / "daemon.sock"

    @property
    def segment(self) -> pathlib.Path:
        return self.directory / "run" / "segment"

    def start(self) -> Node:
        """Starts its daemon and waits until it is ready."""
        with open(self.directory / "log", "a") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "latticed", "--config", self.directory / "latticed.toml"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError("it is not ready: " + (self.directory / "log").read_text())
        return self

    def kill(self) -> None:
        """Ends the daemon without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def stop(self) -> None:
        """Asks the daemon to end, and waits until it has."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self.kill()

    def ctl(self, *arguments: str | bytes) -> str:
        """Runs latticectl, which must succeed, and returns what it printed."""
        command = [PROGRAMS / "latticectl", "--dir", self.directory / "run", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if ran.returncode != 0:
            raise RuntimeError(f"{arguments}: {ran.stderr}")
        return ran.stdout

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._home.cleanup()


def pair() -> tuple[Node, Node]:
    """A cluster of two; neither runs yet."""
    base_port = free_base_port([1, 2])
    return Node(1, [2], base_port), Node(2, [1], base_port)


def free_base_port(nodes: typing.Sequence[int]) -> int:
    """Where four UDP ports in a row are free on each of the nodes' addresses."""

    def free(port: int) -> bool:
        for node in nodes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((f"127.0.0.{node}", port))
                except OSError:
                    return False
        return True

    # Tests of several processes at a time begin to look at different places.
    for place in range(os.getpid(), os.getpid() + 500):
        base = 25_000 + place % 500 * 4
        if all(free(base + offset) for offset in range(4)):
            return base
    raise RuntimeError("no free ports")
