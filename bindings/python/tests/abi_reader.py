"""A reader of the segment, written from datapath/segment/ABI.md and nothing else: mmap, arithmetic, no library of ours.

It is the test that the document says enough, and says it right. The names are those of the document; each function says which
part of it it follows. Words are loaded one at a time through a view of 64-bit words, which on a 64-bit machine is one
aligned load; on x86-64 loads stay in program order, and the interpreter keeps its own.
"""

from __future__ import annotations

import mmap
import os
import struct
import typing

MASK = 2**64 - 1
ATTEMPTS = 1000

COUNTER, FLAG_ENABLE_WINS, FLAG_DISABLE_WINS, REGISTER, SET = range(1, 6)
INIT, READY, CLOSED = range(3)
HEARTBEATS, INDEX, CELLS, EXTENTS, CHANGES, COUNTERS = range(1, 7)


class Contradiction(Exception):
    """The segment is not what the document says."""


class Moved(Exception):
    """What was read changed meanwhile: start again."""


def bits(word: int, low: int, high: int) -> int:
    """Bits ``low..high``, counted from the least significant, ``high`` excluded."""
    return word >> low & (1 << high - low) - 1


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Contradiction(what)


P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def xxh64(data: bytes, seed: int) -> int:
    """xxHash's 64-bit variant, from its specification."""

    def rotl(value: int, count: int) -> int:
        return (value << count | value >> 64 - count) & MASK

    def round_(lane: int, word: int) -> int:
        return rotl((lane + word * P2) & MASK, 31) * P1 & MASK

    at, length = 0, len(data)
    if length >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        while at + 32 <= length:
            lanes = [round_(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        hash_ = sum(rotl(lane, count) for lane, count in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            hash_ = ((hash_ ^ round_(0, lane)) * P1 + P4) & MASK
    else:
        hash_ = (seed + P5) & MASK
    hash_ = (hash_ + length) & MASK
    while at + 8 <= length:
        hash_ = (rotl(hash_ ^ round_(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= length:
        hash_ = (rotl(hash_ ^ struct.unpack_from("<I", data, at)[0] * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        hash_ = rotl(hash_ ^ byte * P5 & MASK, 11) * P1 & MASK
    hash_ = (hash_ ^ hash_ >> 33) * P2 & MASK
    hash_ = (hash_ ^ hash_ >> 29) * P3 & MASK
    return hash_ ^ hash_ >> 32


class Cell(typing.NamedTuple):
    """Where a key is."""

    worker: int
    number: int
    generation: int


class Extent(typing.NamedTuple):
    """A copied payload, and what tells whether it was another's by then."""

    words: list[int]
    length: int
    header_at: int
    tag: int

    def bytes(self) -> bytes:
        return struct.pack(f"<{len(self.words)}Q", *self.words)[: self.length]


class Segment:
    """"File" and "Header"."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        check(self._map[:8] == b"LATTICED", "magic")
        self._words = memoryview(self._map).cast("Q")
        version = self.word(8)
        check(bits(version, 0, 16) == 1 and bits(version, 32, 64) == 4096, "version")
        check(self.word(16) == len(self._map), "total_bytes")
        self.incarnation = self.word(32)
        check(bits(self.incarnation, 0, 32) != 0, "incarnation")
        topology = self.word(48)
        self.node, self.workers = bits(topology, 0, 16), bits(topology, 16, 32)
        self.shards, entries = bits(topology, 32, 48), bits(topology, 48, 64)
        self.epoch = bits(self.word(40), 0, 48)
        check(self.word(40) >> 48 == self.node, "actor")
        self.pid, self.pid_start_ticks, self.start_unix_ns = self.word(56), self.word(64), self.word(72)
        self.heartbeat_timeout_ns, self.cells, self.index_entries = self.word(80), self.word(88), self.word(96)
        check(self.index_entries >= max(64, 2 * self.cells), "index_entries_per_worker")
        check(self.index_entries & self.index_entries - 1 == 0, "index_entries_per_worker")
        self.extent_bytes, self.change_entries, self.counters_per_worker = (self.word(at) for at in (104, 112, 120))
        self.node_name, self.cluster, self.socket_path = self.text(128, 64), self.text(192, 64), self.text(256, 256)
        check(not any(self._map[1024:4096]), "reserved")
        self._sections = {self.word(at): at for at in range(512, 512 + 32 * entries, 32)}
        self._check_strides()

    def close(self) -> None:
        self._words.release()
        self._map.close()

    def word(self, offset: int) -> int:
        check(offset % 8 == 0 and 0 <= offset < len(self._map), "an offset outside of the file")
        return self._words[offset // 8]

    def text(self, offset: int, length: int) -> bytes:
        return self._map[offset : offset + length].split(b"\0")[0]

    @property
    def state(self) -> int:
        return self.word(24)

    def _check_strides(self) -> None:
        """"Section table": strides follow from the header's counts."""
        counts = {
            HEARTBEATS: 128,
            INDEX: 8 * self.index_entries,
            CELLS: 64 * (self.cells + 1),
            EXTENTS: self.extent_bytes,
            CHANGES: 128 + 16 * self.change_entries,
            COUNTERS: 64 * (self.counters_per_worker + 1),
        }
        for section, length in counts.items():
            at = self._sections[section]
            offset, total, stride = (self.word(at + field) for field in (8, 16, 24))
            check(offset % 4096 == 0 and stride % 128 == 0, "alignment of a section")
            check(stride == -(-length // 128) * 128 and total == stride * self.workers, "length of a section")
            check(offset + total <= len(self._map), "a section outside of the file")

    def part(self, section: int, worker: int) -> int:
        """Where the part of a worker in a section starts."""
        at = self._sections[section]
        return self.word(at + 8) + worker * self.word(at + 24)

    def heartbeat_ns(self, worker: int) -> int:
        """"Heartbeats"."""
        return self.word(self.part(HEARTBEATS, worker))

    def worker_of(self, hash_: int) -> int:
        """A key belongs to the shard of the top bits of its hash, a shard to a worker."""
        depth = self.shards.bit_length() - 1
        return (hash_ >> 64 - depth if depth else 0) % self.workers

    # "Finding a key"

    def find(self, kind: int, key: bytes) -> Cell | None:
        hash_ = xxh64(key, 0)
        worker = self.worker_of(hash_)
        index = self.part(INDEX, worker)
        at = hash_ & self.index_entries - 1
        for _ in range(512):
            entry = self.word(index + 8 * at)
            if entry == 0:
                return None
            number = bits(entry, 0, 32)
            if entry >> 32 == hash_ >> 32:
                cell = self.part(CELLS, worker) + 64 * number
                meta = self.word(cell)
                if self.word(cell + 8) == hash_ and self.key_at(worker, number) == key and bits(meta, 0, 8) == kind:
                    return Cell(worker, number, meta >> 32)
            at = at + 1 & self.index_entries - 1
        return None

    def key_at(self, worker: int, number: int) -> bytes:
        cell = self.part(CELLS, worker) + 64 * number
        length = bits(self.word(cell), 8, 16)
        check(1 <= length <= 128, "the length of a key")
        if length <= 24:
            return self._map[cell + 40 : cell + 40 + length]
        check(not any(self._map[cell + 48 : cell + 64]), "zeros after a key's reference")
        return self.extent(worker, self.word(cell + 40)).bytes()[:length]

    def keys(self) -> list[tuple[bytes, int]]:
        """All keys, with their kinds, from the cells."""
        found = []
        for worker in range(self.workers):
            cells = self.part(CELLS, worker)
            for number in range(1, self.word(cells) + 1):
                meta = self.word(cells + 64 * number)
                if meta:
                    found.append((self.key_at(worker, number), bits(meta, 0, 8)))
        return sorted(found)

    def field(self, cell: Cell, offset: int) -> int:
        at = self.part(CELLS, cell.worker) + 64 * cell.number
        if self.word(at) >> 32 != cell.generation:
            raise Moved
        return self.word(at + offset)

    def version(self, cell: Cell) -> int:
        return self.field(cell, 16)

    # "Extents"

    def extent(self, worker: int, reference: int) -> Extent:
        check(reference != 0, "a reference that is none")
        start, tag = bits(reference, 0, 32) * 16, reference >> 32
        at = self.part(EXTENTS, worker) + start
        header = self.word(at)
        if header >> 32 != tag:
            raise Moved
        length, class_ = bits(header, 0, 24), bits(header, 24, 32)
        check(class_ < 38, "a size class")
        size = (48 if class_ % 2 else 32) << class_ // 2
        check(start + size <= self.extent_bytes and 8 + length <= size, "an extent's length")
        words = [self.word(at + 8 + 8 * number) for number in range(-(-length // 8))]
        extent = Extent(words, length, at, tag)
        self.recheck(extent)
        return extent

    def recheck(self, extent: Extent) -> None:
        if self.word(extent.header_at) >> 32 != extent.tag:
            raise Moved

    # The kinds

    def counter(self, key: bytes) -> int | None:
        cell = self.find(COUNTER, key)
        if cell is None:
            return None
        value = self.field(cell, 24)
        return value - 2**64 if value >> 63 else value

    def flag(self, kind: int, key: bytes) -> bool | None:
        cell = self.find(kind, key)
        return None if cell is None else bool(self.field(cell, 24))

    def register(self, key: bytes) -> bytes | None:
        """"Register": the cell's version picks the slot, and tells whether the copy is whole."""
        cell = self.find(REGISTER, key)
        if cell is None:
            return None
        for _ in range(ATTEMPTS):
            version = self.version(cell)
            if version == 0:
                return None
            try:
                value = self.extent(cell.worker, self.field(cell, 32 if version % 2 else 24)).bytes()
            except (Moved, Contradiction):
                # Of a copy that is not whole nothing has to hold.
                if self.version(cell) == version:
                    raise
                continue
            if self.version(cell) == version:
                check(len(value) <= 1024, "a register's length")
                return value
        raise Moved

    def set_len(self, key: bytes) -> int | None:
        cell = self.find(SET, key)
        return None if cell is None else self.field(cell, 32)

    def set_contains(self, key: bytes, element: bytes) -> bool | None:
        cell = self.find(SET, key)
        if cell is None:
            return None
        hash_ = xxh64(element, self.incarnation)
        bucket = self.bucket(cell, hash_)
        return bucket is not None and any(found == element for found in self.live_entries(bucket))

    def set_members(self, key: bytes) -> list[bytes] | None:
        """"To visit all members"."""
        cell = self.find(SET, key)
        if cell is None:
            return None
        members, cursor = [], 0
        while cursor < 2**64:
            bucket = self.bucket(cell, cursor)
            if bucket is None:
                break
            for element in self.live_entries(bucket):
                if xxh64(element, self.incarnation) >= cursor:
                    members.append(element)
            depth, prefix = bits(bucket.words[0], 0, 8), bits(bucket.words[0], 8, 64)
            check(cursor >> 64 - depth == prefix if depth else prefix == 0, "a bucket of other hashes")
            cursor = prefix + 1 << 64 - depth
        return members

    def bucket(self, cell: Cell, hash_: int) -> Extent | None:
        """A copy of the bucket of a hash; ``None`` if the set is empty."""
        for _ in range(ATTEMPTS):
            reference = self.field(cell, 24)
            if reference == 0:
                return None
            try:
                directory = self.extent(cell.worker, reference)
                count = directory.length // 8
                check(count & count - 1 == 0 and 0 < count <= 2**20, "a directory's length")
                depth = count.bit_length() - 1
                bucket = self.extent(cell.worker, directory.words[hash_ >> 64 - depth if depth else 0])
                self.recheck(directory)
            except Moved:
                continue
            check(bucket.length <= 64 * 1024, "a bucket's length")
            return bucket
        raise Moved

    @staticmethod
    def live_entries(bucket: Extent) -> list[bytes]:
        check(bucket.length % 8 == 0, "a bucket's length")
        elements, at = [], 1
        while at < len(bucket.words):
            header = bucket.words[at]
            length = bits(header, 0, 16)
            check(length <= 256, "an element's length")
            words = bucket.words[at + 1 : at + 1 + -(-length // 8)]
            check(len(words) == -(-length // 8), "an element outside of its bucket")
            if bits(header, 16, 17):
                elements.append(struct.pack(f"<{len(words)}Q", *words)[:length])
            at += 1 + len(words)
        return elements

    # "Counters"

    def counters(self, worker: int) -> dict[str, int]:
        at = self.part(COUNTERS, worker)
        found = {}
        for number in range(self.word(at)):
            place = at + 64 * (number + 1)
            found[self.text(place, 48).decode()] = self.word(place + 48)
        return found


class Watcher:
    """"Changes": follows one worker's."""

    def __init__(self, segment: Segment, worker: int) -> None:
        self._segment, self._ring, self.worker = segment, segment.part(CHANGES, worker), worker
        self._position = segment.word(self._ring)

    def next(self) -> tuple[Cell, int] | typing.Literal["overrun"] | None:
        """The next change: the cell, and its version after the publication."""
        segment, entries = self._segment, self._segment.change_entries
        head = segment.word(self._ring)
        if head == self._position:
            return None
        if head - self._position <= entries:
            at = self._ring + 128 + 16 * (self._position % entries)
            cell, version = segment.word(at), segment.word(at + 8)
            if segment.word(self._ring + 8) - self._position <= entries:
                self._position += 1
                return Cell(self.worker, bits(cell, 0, 32), cell >> 32), version
        self._position = head
        return "overrun"
