import os
import types
import typing

_Bytes = typing.Union[str, bytes, bytearray]
_Kind = typing.Literal["counter", "flag-enable-wins", "flag-disable-wins", "register", "set"]

__all__ = [
    "Change",
    "Changes",
    "Client",
    "Counter",
    "Flag",
    "Health",
    "Reached",
    "Register",
    "Set",
    "Ticket",
    "__version__",
    "connect",
    "open_read_only",
]

__version__: str

def connect(
    socket: str | os.PathLike[str],
    *,
    fresh: bool = False,
    connect_timeout: float = 2.0,
    reattach_interval: float = 0.02,
) -> Client:
    """Attaches to the daemon behind a Unix socket, to read and write.

    With ``fresh``, reads fail while the daemon is away instead of serving what it last published. Raises `ConnectError`,
    `AttachError`, `ProtocolError` or `OpenError`.
    """

def open_read_only(segment: str | os.PathLike[str], *, fresh: bool = False, reattach_interval: float = 0.02) -> Client:
    """Maps a segment without speaking to its daemon: every write raises `ReadOnlyError`. Works while the daemon is down, on what it
    last published. Raises `OpenError`.
    """

@typing.final
class Client:
    """The way to one daemon: opens handles, waits for writes, survives the daemon's restarts. May be shared by threads.

    A context manager: at its end the client is closed, and everything that came from it.
    """

    def counter(self, key: _Bytes) -> Counter:
        """A counter: a sum that every host may add to and subtract from. Raises `BadKeyError`, `KindMismatchError`."""

    def flag(self, key: _Bytes, *, wins: typing.Literal["enable", "disable"] = "enable") -> Flag:
        """A flag for which a concurrent enable (or disable) wins. Raises as `counter`."""

    def register(self, key: _Bytes) -> Register:
        """A register: the bytes of the last writer, up to 1024. Raises as `counter`."""

    def set(self, key: _Bytes) -> Set:
        """A set of elements of up to 256 bytes; a concurrent insert beats a remove. Raises as `counter`."""

    def read_counter(self, key: _Bytes) -> int:
        """A counter's sum, without a handle: for keys that are not known beforehand."""

    def read_flag(self, key: _Bytes, *, wins: typing.Literal["enable", "disable"] = "enable") -> bool:
        """True if the flag is on, without a handle."""

    def read_register(self, key: _Bytes) -> bytes | None:
        """The register's bytes, without a handle; ``None`` if it was never set."""

    def read_set_contains(self, key: _Bytes, element: _Bytes) -> bool:
        """True if the element is a member of the set, without a handle."""

    def read_set_len(self, key: _Bytes) -> int:
        """How many members the set has, without a handle."""

    @typing.overload
    def barrier(self, timeout: float | None = 1.0, ack: None = None) -> None: ...
    @typing.overload
    def barrier(self, timeout: float | None = 1.0, *, ack: str) -> Reached: ...
    @typing.overload
    def barrier(self, timeout: float | None, ack: str) -> Reached:
        """Waits until every write that was enqueued through this client and its handles is processed, or has got as far as ``ack`` says.

        Raises `WritesRefusedError`, `OutcomeUnknownError`, `WaitTimeoutError`; with ``ack`` also `NotReachedError`,
        `AckImpossibleError` and `AckUnknownError`.
        """

    def keys(self, prefix: _Bytes | None = None) -> list[tuple[bytes, _Kind]]:
        """All published keys that begin with ``prefix``, sorted, with their kinds. Reads the whole index: not for hot paths."""

    def changes(self) -> Changes:
        """Follows the changes of all keys, from now on. To miss nothing: make the watcher first, then read."""

    def health(self) -> Health:
        """How the daemon is. Also looks for a successor, if it is gone."""

    def reconnect(self, timeout: float | None = 1.0) -> None:
        """Waits until the client is attached to a live daemon again. Raises `DaemonClosedError`."""

    def close(self) -> None:
        """Ends the connection. The client and everything that came from it raise `ClosedError` from now on."""

    @property
    def closed(self) -> bool:
        """True once `close` was called."""

    def __enter__(self) -> Client: ...
    def __exit__(
        self,
        _exc_type: type[BaseException] | None,
        _exc_value: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None: ...

@typing.final
class Counter:
    """A sum that every host may add to and subtract from."""

    @property
    def key(self) -> bytes:
        """The key."""

    def get(self) -> int:
        """The sum of all additions that this host has heard of: one load from shared memory."""

    def add(self, amount: int = 1) -> Ticket:
        """Adds; a negative amount subtracts. Enqueues only: never waits.

        Raises `RingFullError`, `ReadOnlyError`, `DaemonStaleError` or `DaemonClosedError`, with nothing enqueued.
        """

    def add_wait(self, amount: int = 1, *, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Adds, and waits until that has got as far as ``ack`` says. Raises as `add`, and as `Ticket.wait`."""

@typing.final
class Flag:
    """A switch."""

    @property
    def key(self) -> bytes:
        """The key."""

    def get(self) -> bool:
        """True if it is on: one load from shared memory."""

    def enable(self) -> Ticket:
        """Turns it on. Enqueues only; raises as `Counter.add`."""

    def enable_wait(self, *, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Turns it on, and waits until that has got as far as ``ack`` says."""

    def disable(self) -> Ticket:
        """Turns it off. Enqueues only; raises as `Counter.add`."""

    def disable_wait(self, *, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Turns it off, and waits until that has got as far as ``ack`` says."""

@typing.final
class Register:
    """The bytes of the last writer."""

    @property
    def key(self) -> bytes:
        """The key."""

    def get(self) -> bytes | None:
        """The bytes; ``None`` if it was never set. Raises `BusyError` if it changes faster than it can be copied."""

    def set(self, value: _Bytes) -> Ticket:
        """Replaces the bytes, by at most 1024. Enqueues only; raises `TooLargeError`, and as `Counter.add`."""

    def set_wait(self, value: _Bytes, *, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Replaces the bytes, and waits until that has got as far as ``ack`` says."""

@typing.final
class Set:
    """A set of elements: ``in``, ``len`` and iteration read it. Iterating visits a sorted copy."""

    @property
    def key(self) -> bytes:
        """The key."""

    def __contains__(self, key: _Bytes, /) -> bool: ...
    def __len__(self, /) -> int: ...
    def __iter__(self, /) -> typing.Iterator[bytes]: ...
    def members(self) -> list[bytes]:
        """All members, sorted. Not a snapshot: one that is inserted or removed meanwhile may or may not be in it, all others are."""

    def insert(self, element: _Bytes) -> Ticket:
        """Inserts an element of at most 256 bytes. Enqueues only; raises `TooLargeError`, and as `Counter.add`."""

    def insert_wait(self, element: _Bytes, *, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Inserts an element, and waits until that has got as far as ``ack`` says."""

    def remove(self, element: _Bytes) -> Ticket:
        """Removes an element; an insertion elsewhere that this host has not heard of yet stays. Enqueues only."""

    def remove_wait(self, element: _Bytes, *, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Removes an element, and waits until that has got as far as ``ack`` says."""

    def clear(self) -> Ticket:
        """Removes every element that this host sees when its daemon applies it. Enqueues only."""

    def clear_wait(self, *, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Removes every element that this host sees, and waits until that has got as far as ``ack`` says."""

@typing.final
class Ticket:
    """A receipt for an enqueued write. May be dropped: `Client.barrier` covers all of them."""

    def is_applied(self) -> bool:
        """True if it is applied and visible to every reader of this host, false if it is under way. Does not wait.

        Raises `RefusedError`, `OutcomeUnknownError` or `OutcomeForgottenError`.
        """

    def wait(self, timeout: float | None = 1.0, ack: str = "local") -> Reached:
        """Waits until the write has got as far as ``ack`` says: "local", "logged", "durable", "peers=K", "majority" or "all".

        Raises `RefusedError`, `NotReachedError` (wait again), `AckImpossibleError`, `AckUnknownError`, `OutcomeForgottenError`.
        """

@typing.final
class Reached:
    """How far writes have got, as far as the daemon has told."""

    @property
    def local(self) -> bool:
        """Applied, and visible to every reader of this host."""

    @property
    def logged(self) -> bool:
        """In the memory-mapped log: survives the daemon."""

    @property
    def durable(self) -> bool:
        """Synced to this host's disk."""

    @property
    def majority(self) -> bool:
        """On more than half of the members."""

    @property
    def all(self) -> bool:
        """On every member."""

    @property
    def peers(self) -> int:
        """How many peers have merged it; more than 32 are counted as 32."""

    @property
    def durable_on(self) -> int:
        """How many peers are known to have it on their disks."""

    @property
    def members(self) -> int:
        """Members of the cluster, this host one of them; 0 if the daemon has not said."""

    @property
    def text(self) -> str:
        """The same in words."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

@typing.final
class Health:
    """How the daemon is."""

    @property
    def state(self) -> typing.Literal["live", "stale", "dead", "closed"]:
        """Whether it lives, is silent, has gone, or was stopped."""

    @property
    def heartbeat_age(self) -> float | None:
        """Age of the most silent worker's heartbeat in seconds; ``None`` if one never beat."""

    @property
    def heartbeat_timeout(self) -> float:
        """The age at which the daemon wants to be called stale, in seconds."""

    @property
    def is_writable(self) -> bool:
        """True if writes can be enqueued."""

    @property
    def pid(self) -> int:
        """The daemon's process."""

    @property
    def node(self) -> int:
        """The daemon's node number."""

    @property
    def node_name(self) -> str:
        """The daemon's node name."""

    @property
    def incarnation(self) -> int:
        """Differs between any two starts of any daemon."""

    @property
    def attachments(self) -> int:
        """How often this client has attached: 1 until the daemon's first restart."""

@typing.final
class Changes:
    """A watcher: a context manager, and an iterator that waits for each change and ends when it is closed."""

    def next(self, timeout: float | None = None) -> Change | None:
        """The next change, waiting for it at most ``timeout`` seconds; ``None`` if there was none. 0 does not wait."""

    def close(self) -> None:
        """Ends it, also for a thread that waits for a change."""

    def __iter__(self, /) -> Changes: ...
    def __next__(self, /) -> Change: ...
    def __enter__(self) -> Changes: ...
    def __exit__(
        self,
        _exc_type: type[BaseException] | None,
        _exc_value: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None: ...

@typing.final
class Change:
    """What a watcher is told."""

    @property
    def what(self) -> typing.Literal["key", "overrun", "restarted"]:
        """A key was published; or changes were missed, or the daemon is another one: read again what you care about."""

    @property
    def key(self) -> bytes | None:
        """The key, if it is one."""

    @property
    def kind(self) -> _Kind | None:
        """Its kind."""

    @property
    def version(self) -> int:
        """How often it has been published, this time included."""
