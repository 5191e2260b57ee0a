"""Shared state between hosts, without a leader: counters, flags, registers and sets.

Reads are served from shared memory, in some 100 ns; writes are enqueued to the daemon of this host and never wait. A key that
nobody has written reads as its kind's empty value: 0, off, ``None``, no members.

    import latticed

    with latticed.connect("/dev/shm/latticed/host-a/daemon.sock") as client:
        requests = client.counter("requests/today")
        requests.add()
        print(requests.get())
"""

from latticed._errors import (
    AckImpossibleError,
    AckUnknownError,
    AttachError,
    BadKeyError,
    BusyError,
    ClosedError,
    ConnectError,
    CorruptError,
    DaemonClosedError,
    DaemonStaleError,
    KindMismatchError,
    LatticedError,
    NotReachedError,
    OpenError,
    OutcomeForgottenError,
    OutcomeUnknownError,
    ProtocolError,
    ReadOnlyError,
    RefusedError,
    RingFullError,
    SystemCallError,
    TooLargeError,
    WaitTimeoutError,
    WritesRefusedError,
)
from latticed._latticed import (
    Change,
    Changes,
    Client,
    Counter,
    Flag,
    Health,
    Reached,
    Register,
    Set,
    Ticket,
    __version__,
    connect,
    open_read_only,
)

__all__ = [
    "AckImpossibleError",
    "AckUnknownError",
    "AttachError",
    "BadKeyError",
    "BusyError",
    "Change",
    "Changes",
    "Client",
    "ClosedError",
    "ConnectError",
    "CorruptError",
    "Counter",
    "DaemonClosedError",
    "DaemonStaleError",
    "Flag",
    "Health",
    "KindMismatchError",
    "LatticedError",
    "NotReachedError",
    "OpenError",
    "OutcomeForgottenError",
    "OutcomeUnknownError",
    "ProtocolError",
    "ReadOnlyError",
    "Reached",
    "RefusedError",
    "Register",
    "RingFullError",
    "Set",
    "SystemCallError",
    "Ticket",
    "TooLargeError",
    "WaitTimeoutError",
    "WritesRefusedError",
    "__version__",
    "connect",
    "open_read_only",
]
