"""Why the server ends a link: websocket close codes with their reasons. ``docs/protocol.md`` lists them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class CloseCode(NamedTuple):
    code: int
    reason: str

    def because(self, detail: str) -> CloseCode:
        """The same code, with more to say; a close frame holds 123 bytes of reason."""
        return CloseCode(self.code, detail.encode("ascii", "replace")[:120].decode("ascii"))


MALFORMED: Final = CloseCode(4400, "that is no message of this protocol")
OUT_OF_ORDER: Final = CloseCode(4402, "that message has no place here")
REVOKED: Final = CloseCode(4403, "the key was revoked")
LAGGING: Final = CloseCode(4408, "what was sent was not confirmed for a minute")
SUPERSEDED: Final = CloseCode(4409, "a newer link of the same instance has taken over")
FLOODING: Final = CloseCode(4429, "too many messages")
RESTARTING: Final = CloseCode(1012, "the server restarts")
BUSY: Final = CloseCode(1013, "try again later")


def close(protocol: Any, why: CloseCode) -> None:
    """Ends the websocket of daphne's ``protocol``; nothing on one that is closing already.

    Its own way of closing forgets the reason, and autobahn's public one refuses the codes of RFC 6455 itself.
    """
    protocol.sendCloseFrame(code=why.code, reasonUtf8=why.reason.encode())
