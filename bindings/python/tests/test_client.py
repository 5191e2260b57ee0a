"""The package against a real daemon."""

from __future__ import annotations

import gc
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

import latticed
from daemon import ROOT, Node, pair

PATIENCE = 60.0


class Kinds(unittest.TestCase):
    """Every kind is written and read back."""

    def setUp(self) -> None:
        self.node = self.enterContext(Node()) if sys.version_info >= (3, 11) else self._enter(Node())
        self.client = latticed.connect(self.node.socket)
        self.addCleanup(self.client.close)

    def _enter(self, node: Node) -> Node:
        node.start()
        self.addCleanup(node.__exit__)
        return node

    def test_counters(self) -> None:
        hits = self.client.counter("hits")
        self.assertEqual((hits.get(), hits.key), (0, b"hits"))
        ticket = hits.add(5)
        self.assertTrue(ticket.wait(PATIENCE).local)
        self.assertTrue(ticket.is_applied())
        hits.add()
        hits.add(-2)
        self.assertIsNone(self.client.barrier(PATIENCE))
        self.assertEqual((hits.get(), self.client.read_counter(b"hits")), (4, 4))
        reached = hits.add_wait(2**40, timeout=PATIENCE, ack="durable")
        self.assertTrue(reached.local and reached.logged and reached.durable)
        self.assertEqual((reached.members, reached.peers), (1, 0))
        self.assertIn("durable here", str(reached))
        self.assertEqual(self.node.ctl("get", "hits"), f"{2**40 + 4}\n")
        with self.assertRaises(OverflowError):
            hits.add(2**63)
        with self.assertRaises(TypeError):
            hits.add("1")  # type: ignore[arg-type]

    def test_flags(self) -> None:
        on, safe = self.client.flag("on"), self.client.flag("safe", wins="disable")
        on.enable_wait(timeout=PATIENCE)
        safe.enable().wait(PATIENCE)
        self.assertTrue(on.get() and safe.get() and self.client.read_flag("on"))
        self.assertTrue(self.client.read_flag("safe", wins="disable"))
        on.disable()
        safe.disable_wait(timeout=PATIENCE)
        self.client.barrier(PATIENCE)
        self.assertFalse(on.get() or safe.get())
        with self.assertRaises(latticed.KindMismatchError):
            self.client.flag("safe")
        with self.assertRaises(ValueError):
            self.client.flag("x", wins="neither")  # type: ignore[arg-type]

    def test_registers(self) -> None:
        motd = self.client.register("motd")
        self.assertIsNone(motd.get())
        self.assertIsNone(self.client.read_register("motd"))
        motd.set_wait(b"", timeout=PATIENCE)
        self.assertEqual(motd.get(), b"")
        for value in (b"hello", bytearray(b"\x00\xff"), b"x" * 1024):
            motd.set(value).wait(PATIENCE)
            self.assertEqual((motd.get(), self.client.read_register("motd")), (bytes(value), bytes(value)))
        motd.set_wait("grüße", timeout=PATIENCE)
        self.assertEqual(motd.get(), "grüße".encode())
        with self.assertRaises(latticed.TooLargeError) as caught:
            motd.set(b"x" * 1025)
        self.assertTrue(caught.exception.nothing_happened)
        self.assertIsInstance(caught.exception, ValueError)
        with self.assertRaisesRegex(TypeError, "bytes or str are wanted, not int"):
            motd.set(5)  # type: ignore[arg-type]

    def test_sets(self) -> None:
        live = self.client.set("live")
        self.assertEqual((len(live), live.members(), list(live)), (0, [], []))
        elements = [f"element {number}".encode() for number in range(200)]
        for element in elements:
            live.insert(element)
        live.insert_wait("last", timeout=PATIENCE)
        self.client.barrier(PATIENCE)
        self.assertEqual(live.members(), sorted([*elements, b"last"]))
        self.assertEqual((list(live), len(live)), (live.members(), 201))
        self.assertTrue("element 7" in live and b"last" in live and "absent" not in live)
        self.assertTrue(self.client.read_set_contains("live", "last"))
        live.remove("last")
        live.remove_wait("element 7", timeout=PATIENCE)
        self.client.barrier(PATIENCE)
        self.assertEqual(self.client.read_set_len("live"), 199)
        live.clear_wait(timeout=PATIENCE)
        self.assertEqual(len(live), 0)
        live.clear().wait(PATIENCE)

    def test_keys_and_health(self) -> None:
        self.client.counter("b").add()
        self.client.set("a").insert("x")
        self.client.flag("ac", wins="disable").enable()
        self.client.barrier(PATIENCE)
        self.assertEqual(self.client.keys(), [(b"a", "set"), (b"ac", "flag-disable-wins"), (b"b", "counter")])
        self.assertEqual(self.client.keys("a"), self.client.keys()[:2])
        health = self.client.health()
        self.assertEqual((health.state, health.node, health.node_name), ("live", 1, "host-1"))
        self.assertTrue(health.is_writable and health.attachments == 1)
        self.assertGreaterEqual(health.heartbeat_timeout, health.heartbeat_age or 0.0)
        self.assertIn("host-1", repr(health))

    def test_a_segment_alone_can_be_read(self) -> None:
        self.client.counter("n").add_wait(3, timeout=PATIENCE)
        with latticed.open_read_only(str(self.node.segment)) as reader:
            counter = reader.counter("n")
            self.assertEqual(counter.get(), 3)
            with self.assertRaises(latticed.ReadOnlyError):
                counter.add()
            with self.assertRaises(latticed.ReadOnlyError):
                counter.add_wait(ack="durable")

    def test_changes(self) -> None:
        with self.client.changes() as changes:
            self.assertIsNone(changes.next(timeout=0))
            self.client.counter("watched").add_wait(timeout=PATIENCE)
            change = changes.next(PATIENCE)
            assert change is not None
            self.assertEqual((change.what, change.key, change.kind), ("key", b"watched", "counter"))
            self.assertGreater(change.version, 0)
            self.assertEqual(repr(change), '<Change: key "watched">')
            # A thread that waits for ever is let go.
            seen: list[latticed.Change] = []
            waiter = threading.Thread(target=lambda: seen.extend(changes))
            waiter.start()
            changes.close()
            waiter.join(PATIENCE)
            self.assertFalse(waiter.is_alive() or seen)
        with self.assertRaises(latticed.ClosedError):
            changes.next()

    def test_closing_ends_everything_at_once(self) -> None:
        with latticed.connect(self.node.socket) as client:
            counter, members, changes = client.counter("n"), client.set("s"), client.changes()
            self.assertEqual(len(self._clients()), 2)
        self.assertTrue(client.closed)
        # Handles are still referred to, and the daemon knows that they are of no use.
        while len(self._clients()) != 1:
            time.sleep(0)
        for call in (counter.get, counter.add, members.members, lambda: len(members), client.health, client.keys):
            with self.assertRaisesRegex(latticed.ClosedError, "connect anew"):
                call()
        self.assertEqual(list(changes), [])
        client.close()
        self.assertIn("closed", repr(client))
        del client, counter, members, changes
        gc.collect()

    def _clients(self) -> list[str]:
        return [line for line in re.findall(r'"client": ?\d+', self.node.ctl("status", "--json"))]

    def test_threads_share_a_client(self) -> None:
        counter = self.client.counter("shared")

        def add() -> None:
            for number in range(200):
                ticket = counter.add(1)
                if number % 16 == 0:
                    ticket.wait(PATIENCE)

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.client.barrier(PATIENCE)
        self.assertEqual(counter.get(), 800)


class Waiting(unittest.TestCase):
    """What was asked for, what was reached, what never can be."""

    def test_levels(self) -> None:
        a, b = pair()
        with a, latticed.connect(a.socket) as client:
            counter = client.counter("c")
            ticket = counter.add()
            # From here on the daemon has said how many members there are.
            ticket.wait(PATIENCE, "logged")
            with self.assertRaises(latticed.NotReachedError) as caught:
                ticket.wait(0.12, "all")
            self.assertIsInstance(caught.exception, TimeoutError)
            self.assertFalse(caught.exception.reached.all or caught.exception.nothing_happened)
            self.assertTrue(caught.exception.is_temporary)
            # All of the time, not only of the last slice of it.
            self.assertRegex(str(caught.exception), r"within 1[2-9]\d|within [2-9]\d\d|within \d+\.\d+s")
            with self.assertRaises(latticed.AckImpossibleError):
                counter.add_wait(ack="peers=2")
            with self.assertRaisesRegex(ValueError, "majority"):
                counter.add_wait(ack="most")
            with self.assertRaises(ValueError):
                counter.add_wait(timeout=-1.0)
            with b:
                self.assertEqual(ticket.wait(None, "all").peers, 1)
                reached = client.barrier(PATIENCE, ack="majority")
                self.assertTrue(reached.majority and reached == client.barrier(PATIENCE, "majority"))
            self.assertEqual(counter.get(), 1, "what could never be reached was not enqueued")

    def test_a_wait_leaves_other_threads_alone_and_hears_signals(self) -> None:
        with Node(peers=[2]) as node, latticed.connect(node.socket) as client:
            ticket = client.counter("c").add()
            waiting, ran = threading.Event(), threading.Event()

            def interrupt() -> None:
                waiting.wait(PATIENCE)
                ran.set()
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            # Whoever starts this in the background has it ignore the signal.
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            self.addCleanup(signal.signal, signal.SIGINT, before)
            with self.assertRaises(KeyboardInterrupt):
                waiting.set()
                ticket.wait(PATIENCE, "all")
            self.assertTrue(ran.is_set())
            thread.join()

    def test_refusals(self) -> None:
        # Room for 64 keys: soon more are refused.
        with Node(cells=64) as node, latticed.connect(node.socket) as client:
            with self.assertRaises(latticed.RefusedError) as caught:
                for number in range(200):
                    counter = client.counter(f"many {number}")
                    counter.add().wait(PATIENCE)
            self.assertTrue(caught.exception.nothing_happened)
            tickets = [counter.add() for _ in range(3)]
            with self.assertRaises(latticed.WritesRefusedError) as refused:
                client.barrier(PATIENCE)
            self.assertEqual(refused.exception.writes, 3)
            with self.assertRaises(latticed.RefusedError):
                tickets[-1].is_applied()


class Restarts(unittest.TestCase):
    """A daemon that is killed and comes back, and one that never was."""

    def test_everything_goes_on(self) -> None:
        with Node() as node, latticed.connect(node.socket) as client:
            counter, changes = client.counter("c"), client.changes()
            counter.add_wait(5, timeout=PATIENCE)
            with latticed.connect(node.socket, fresh=True) as strict:
                node.kill()
                with self.assertRaises(latticed.DaemonClosedError):
                    client.reconnect(0.02)
                with self.assertRaises(latticed.DaemonClosedError) as caught:
                    counter.add()
                self.assertTrue(caught.exception.nothing_happened and caught.exception.is_temporary)
                self.assertIn(client.health().state, ("dead", "closed"))
                self.assertEqual(counter.get(), 5)
            node.start()
            client.reconnect(PATIENCE)
            while (change := changes.next(PATIENCE)) is not None and change.what == "key":
                pass
            self.assertEqual(change and change.what, "restarted")
            counter.add_wait(1, timeout=PATIENCE)
            self.assertEqual((counter.get(), client.health().attachments), (6, 2))
            self.assertTrue(strict.closed)

    def test_no_daemon(self) -> None:
        with self.assertRaises(latticed.ConnectError) as caught:
            latticed.connect("/nowhere/daemon.sock")
        self.assertIsInstance(caught.exception, (ConnectionError, latticed.LatticedError))
        with self.assertRaises(latticed.OpenError):
            latticed.open_read_only(pathlib.Path("/nowhere/segment"))


class Package(unittest.TestCase):
    """What a user finds."""

    def test_the_readme_is_true(self) -> None:
        readme = (ROOT / "bindings/python/README.md").read_text()
        sample = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
        with Node() as node:
            exec(sample.replace("/dev/shm/latticed/host-a/daemon.sock", str(node.socket)), {})
            self.assertEqual(node.ctl("get", "config/limit"), "500/s\n")

    def test_the_version_is_that_of_the_project(self) -> None:
        cargo = (ROOT / "Cargo.toml").read_text()
        self.assertIn(f'\nversion = "{latticed.__version__}"\n', cargo)

    def test_the_bench_runs(self) -> None:
        with Node() as node:
            command = [sys.executable, "-m", "latticed.bench", str(node.socket), "--calls", "2000"]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        self.assertRegex(ran.stdout, r"read a counter by handle +\d+ +\d+\n")


if __name__ == "__main__":
    unittest.main()
