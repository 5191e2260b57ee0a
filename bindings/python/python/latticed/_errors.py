"""What goes wrong. The text of each error says what happened to the state, and what to do."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from latticed._latticed import Reached


class LatticedError(Exception):
    """Anything that goes wrong here."""

    nothing_happened: bool = True
    """The write of this call certainly changed nothing: it may be repeated without being counted twice."""

    is_temporary: bool = False
    """The same call can succeed a moment later without anybody changing anything."""


class ClosedError(LatticedError, ValueError):
    """The client was closed."""


class ConnectError(LatticedError, ConnectionError):
    """No daemon answers at the socket."""


class AttachError(LatticedError, ConnectionError):
    """The daemon refused to attach this client."""


class ProtocolError(LatticedError, ConnectionError):
    """The daemon's reply can't be used: do daemon and package match?"""


class OpenError(LatticedError, OSError):
    """The segment can't be opened or is not valid."""


class BadKeyError(LatticedError, ValueError):
    """A key has 1 to 128 bytes."""


class TooLargeError(LatticedError, ValueError):
    """A register has at most 1024 bytes, an element of a set 256."""


class KindMismatchError(LatticedError, TypeError):
    """The key exists on this host with another kind."""


class RingFullError(LatticedError):
    """More was written than the daemon has applied; nothing was enqueued. Wait for earlier writes, then try again."""


class ReadOnlyError(LatticedError):
    """The client was opened with ``open_read_only``."""


class DaemonStaleError(LatticedError):
    """The key's worker has been silent for longer than its timeout; nothing was enqueued."""


class DaemonClosedError(LatticedError, ConnectionError):
    """The daemon is gone; nothing was enqueued. Later calls attach to its successor by themselves."""


class RefusedError(LatticedError):
    """The daemon refused the write; nothing was changed."""


class WritesRefusedError(LatticedError):
    """A barrier found refused writes; the others are applied."""

    writes: int = 0
    """How many were refused."""


class WaitTimeoutError(LatticedError, TimeoutError):
    """The time is up; the write is still under way. Wait again."""


class OutcomeUnknownError(LatticedError):
    """The daemon went away before it acknowledged: applied or not, nobody can say. Read before repeating."""

    writes: int = 0
    """How many writes this is true of."""


class OutcomeForgottenError(LatticedError):
    """The result of this write is no longer remembered: wait sooner."""


class AckImpossibleError(LatticedError):
    """No write can get as far as was asked at this daemon; nothing was enqueued."""


class NotReachedError(LatticedError, TimeoutError):
    """The time is up, and the write has not got as far as was asked; it goes on by itself."""

    reached: Reached
    """How far it has got."""


class AckUnknownError(LatticedError):
    """The daemon went away before it told that the write got as far as was asked."""

    reached: Reached
    """What it had told."""


class BusyError(LatticedError):
    """The value changes faster than it can be copied. Read again."""


class CorruptError(LatticedError):
    """The segment contradicts itself at this key. Restart the daemon, and report it."""


class SystemCallError(LatticedError, OSError):
    """A system call failed."""
