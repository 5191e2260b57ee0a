"""ABI.md is true: a reader written from it alone agrees with latticectl about a live daemon's segment, also while it changes."""

from __future__ import annotations

import json
import random
import threading
import time
import unittest

import abi_reader
import latticed
from abi_reader import Segment, Watcher, xxh64
from daemon import Node

PATIENCE = 60.0


class Hash(unittest.TestCase):
    def test_it_is_xxh64(self) -> None:
        for data, seed, expected in (
            (b"", 0, 0xEF46DB3751D8E999),
            (b"a", 0, 0xD24EC4F1A98C6E5B),
            (b"abc", 0, 0x44BC2CF5AD770999),
            (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
        ):
            self.assertEqual(xxh64(data, seed), expected)


class Abi(unittest.TestCase):
    """Two workers, four shards."""

    def setUp(self) -> None:
        self.node = Node(workers=2)
        self.addCleanup(self.node.__exit__)
        self.node.start()
        self.client = latticed.connect(self.node.socket)
        self.addCleanup(self.client.close)
        self.segment = Segment(self.node.segment)
        self.addCleanup(self.segment.close)

    def value(self, key: str) -> object:
        """What latticectl says."""
        return json.loads(self.node.ctl("get", "--json", key))["value"]

    def test_the_header(self) -> None:
        segment, health = self.segment, self.client.health()
        self.assertEqual((segment.node_name, segment.cluster), (b"host-1", b"python"))
        self.assertEqual(segment.socket_path, bytes(self.node.socket))
        self.assertEqual((segment.node, segment.pid, segment.incarnation), (1, health.pid, health.incarnation))
        self.assertEqual((segment.workers, segment.shards, segment.state), (2, 4, abi_reader.READY))
        self.assertEqual((segment.cells, segment.counters_per_worker), (4096, 127))
        self.assertEqual(segment.heartbeat_timeout_ns, 60_000_000_000)
        with open(f"/proc/{segment.pid}/stat") as stat:
            self.assertEqual(segment.pid_start_ticks, int(stat.read().rsplit(")", 1)[1].split()[19]))
        self.assertLess(abs(segment.start_unix_ns - time.time_ns()), PATIENCE * 1e9)
        for worker in range(2):
            age_ns = time.monotonic_ns() - segment.heartbeat_ns(worker)
            self.assertTrue(0 <= age_ns < PATIENCE * 1e9)
            self.assertIn("frames_received", segment.counters(worker))

    def test_every_kind_agrees_with_latticectl(self) -> None:
        segment, client = self.segment, self.client
        # Inline and in extents, at the bounds of both; enough for both workers and for collisions in the index.
        keys = [f"{number}".ljust(length, "k") for length in (1, 8, 24, 25, 128) for number in range(8)]
        for number, name in enumerate(keys):
            client.counter("c" + name[1:]).add(number - 3)
            client.flag("f" + name[1:]).enable()
            client.flag("g" + name[1:], wins="disable").enable()
            client.register("r" + name[1:]).set(bytes([number]) * (number * 26 % 1025))
            client.set("s" + name[1:]).insert(name)
            client.barrier(PATIENCE)
        client.flag("f" + keys[0][1:]).disable()
        client.register("empty").set(b"")
        client.barrier(PATIENCE)
        kinds = {
            "counter": abi_reader.COUNTER,
            "flag-enable-wins": abi_reader.FLAG_ENABLE_WINS,
            "flag-disable-wins": abi_reader.FLAG_DISABLE_WINS,
            "register": abi_reader.REGISTER,
            "set": abi_reader.SET,
        }
        listed = [json.loads(line) for line in self.node.ctl("keys", "--json").splitlines()]
        self.assertEqual(segment.keys(), [(found["key"].encode(), kinds[found["kind"]]) for found in listed])
        self.assertEqual({segment.worker_of(xxh64(key, 0)) for key, _ in segment.keys()}, {0, 1})
        for key, kind in segment.keys():
            with self.subTest(key=key):
                told = self.value(key.decode())
                if kind == abi_reader.COUNTER:
                    self.assertEqual(segment.counter(key), told)
                elif kind == abi_reader.REGISTER:
                    self.assertEqual((segment.register(key) or b"").decode(), told)
                elif kind == abi_reader.SET:
                    members = sorted(segment.set_members(key) or [])
                    self.assertEqual([member.decode() for member in members], told)
                    self.assertEqual(segment.set_len(key), len(members))
                else:
                    self.assertEqual(segment.flag(kind, key), told)
                # The same key with another kind is another key.
                self.assertIsNone(segment.find(kind % 5 + 1, key))
        self.assertEqual(segment.register(b"empty"), b"")
        self.assertIsNone(segment.find(abi_reader.COUNTER, b"absent"))

    def test_large_sets(self) -> None:
        live = self.client.set("live")
        rng = random.Random(1)
        elements = {rng.randbytes(rng.randrange(257)) for _ in range(3000)}
        gone = set(rng.sample(sorted(elements), 500))
        for number, element in enumerate(sorted(elements)):
            live.insert(element)
            if number % 100 == 0:
                self.client.barrier(PATIENCE)
        self.client.barrier(PATIENCE)
        for number, element in enumerate(sorted(gone)):
            live.remove(element)
            if number % 100 == 0:
                self.client.barrier(PATIENCE)
        self.client.barrier(PATIENCE)
        self.assertEqual(sorted(self.segment.set_members(b"live") or []), sorted(elements - gone))
        self.assertEqual(self.segment.set_len(b"live"), len(elements - gone))
        for element in rng.sample(sorted(elements), 200):
            self.assertEqual(self.segment.set_contains(b"live", element), element not in gone)

    def test_nothing_is_torn_while_it_changes(self) -> None:
        """Registers say their own length and fill; members that stay are always there, once."""
        register, live, stop = self.client.register("r"), self.client.set("s"), threading.Event()
        lasting = {f"lasting {number}".encode() for number in range(50)}
        for element in lasting:
            live.insert(element)
        register.set(b"")
        self.client.barrier(PATIENCE)

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                register.set(bytes([number % 256]) * (number * 37 % 1025))
                live.insert(f"passing {number}" * 5)
                live.remove(f"passing {number - 50}" * 5)
                if number % 20 == 0:
                    self.client.barrier(PATIENCE)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            values: set[bytes] = set()
            until = time.monotonic() + 1.0
            while time.monotonic() < until or len(values) < 20:
                value = self.segment.register(b"r")
                assert value is not None
                self.assertEqual(value, value[:1] * len(value))
                values.add(value)
                members = self.segment.set_members(b"s") or []
                self.assertEqual(len(members), len(set(members)))
                self.assertLessEqual(lasting, set(members))
                self.assertTrue(self.segment.set_contains(b"s", b"lasting 7"))
        finally:
            stop.set()
            writer.join()

    def test_changes(self) -> None:
        watchers = [Watcher(self.segment, worker) for worker in range(2)]
        self.assertEqual([watcher.next() for watcher in watchers], [None, None])
        for number in range(20):
            self.client.counter(f"n{number}").add_wait(timeout=PATIENCE)
        seen = []
        for watcher in watchers:
            while (change := watcher.next()) is not None:
                assert change != "overrun"
                cell, version = change
                self.assertEqual(self.segment.version(cell), version)
                seen.append(self.segment.key_at(cell.worker, cell.number).decode())
        self.assertEqual(sorted(seen), sorted(f"n{number}" for number in range(20)))
        # More than the ring holds: an overrun, and then it goes on.
        counter = self.client.counter("n0")
        for _ in range(self.segment.change_entries + 10):
            counter.add_wait(timeout=PATIENCE)
        watcher = watchers[self.segment.worker_of(xxh64(b"n0", 0))]
        self.assertEqual((watcher.next(), watcher.next()), ("overrun", None))
        counter.add_wait(timeout=PATIENCE)
        self.assertIsInstance(watcher.next(), tuple)

    def test_a_daemon_that_stops_says_so(self) -> None:
        self.client.counter("n").add_wait(7, timeout=PATIENCE)
        self.node.stop()
        self.assertEqual(self.segment.state, abi_reader.CLOSED)
        self.assertEqual(self.segment.counter(b"n"), 7, "the last values stay")
        self.node.start()
        with_successor = Segment(self.node.segment)
        self.assertEqual((with_successor.state, with_successor.counter(b"n")), (abi_reader.READY, 7))
        self.assertNotEqual(with_successor.incarnation, self.segment.incarnation)
        with_successor.close()


if __name__ == "__main__":
    unittest.main()
