"""What reads and writes take from Python: ``python -m latticed.bench SOCKET``.

Each row is the median and the best of several rounds, in nanoseconds a call, the loop around it taken off.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import typing

import latticed

ROUNDS = 9
GOAL_NS = 300


def nothing() -> None:
    """What a call costs that does nothing, in Python."""


def rounds(call: typing.Callable[[], object], calls: int) -> list[float]:
    """Nanoseconds a call, of each round."""
    found = []
    for _ in range(ROUNDS):
        repeat = itertools.repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in repeat:
            pass
        empty = time.perf_counter_ns() - start
        repeat = itertools.repeat(None, calls)
        start = time.perf_counter_ns()
        for _ in repeat:
            call()
        found.append(max(time.perf_counter_ns() - start - empty, 0) / calls)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m latticed.bench", description=__doc__)
    parser.add_argument("socket", help="the daemon's socket; keys that begin with bench/python/ are written")
    parser.add_argument("--calls", type=int, default=200_000, help="calls in each round of reads")
    arguments = parser.parse_args()
    with latticed.connect(arguments.socket) as client:
        counter = client.counter("bench/python/counter")
        flag = client.flag("bench/python/flag")
        register = client.register("bench/python/register")
        members = client.set("bench/python/set")
        counter.add_wait()
        flag.enable_wait()
        register.set_wait(b"x" * 64)
        for number in range(100):
            members.insert(f"element {number}")
        client.barrier()
        reads: list[tuple[str, typing.Callable[[], object]]] = [
            ("read a counter by handle", counter.get),
            ("read a flag by handle", flag.get),
            ("read a 64-byte register by handle", register.get),
            ("look for an element of a set of 100", lambda: b"element 7" in members),
            ("read a counter by key", lambda: client.read_counter("bench/python/counter")),
            ("call a Python function (to compare)", nothing),
        ]
        print(f"{'ns a call':<42} {'median':>8} {'best':>8}")
        for name, call in reads:
            found = rounds(call, arguments.calls)
            print(f"{name:<42} {statistics.median(found):>8.0f} {min(found):>8.0f}")
        waits = rounds(lambda: counter.add_wait(timeout=10.0), max(arguments.calls // 1000, 10))
        print(f"{'add to a counter, until this host sees it':<42} {statistics.median(waits):>8.0f} {min(waits):>8.0f}")
        print(f"goal: reads by handle within {GOAL_NS} ns")


if __name__ == "__main__":
    main()
