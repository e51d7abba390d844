"""Why the server ends a link: websocket close codes with their reasons. ``docs/protocol.md`` lists them."""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from prometheus_client import Counter

logger = logging.getLogger(__name__)

_SENT_AWAY: Final = Counter(
    "control_plane_agents_sent_away_total", "Links that the server refused or ended, by close code.", ["code"]
)


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
REFUSED: Final = CloseCode(403, "no key of scope agent that is valid")
"""The status of a handshake that did not become a websocket."""
OVERSIZED: Final = CloseCode(1009, "a message over 1 MiB")
FLOODING: Final = CloseCode(4429, "too many messages")
RESTARTING: Final = CloseCode(1012, "the server restarts")
BUSY: Final = CloseCode(1013, "try again later")


for _why in (*(MALFORMED, OUT_OF_ORDER, REVOKED, LAGGING, SUPERSEDED, REFUSED, OVERSIZED, FLOODING, RESTARTING, BUSY),):
    _SENT_AWAY.labels(str(_why.code))  # there from the start: a rate needs a zero to rise from


def sent_away(why: CloseCode, who: str) -> None:
    """Counts it, and says it where a service's owner may look for it."""
    _SENT_AWAY.labels(str(why.code)).inc()
    logger.info("Agent sent away with %d, %s: %s", why.code, why.reason, who)


def close(protocol: Any, why: CloseCode) -> None:
    """Ends the websocket of daphne's ``protocol``; nothing on one that is closing already.

    Its own way of closing forgets the reason, and autobahn's public one refuses the codes of RFC 6455 itself.
    """
    protocol.sendCloseFrame(code=why.code, reasonUtf8=why.reason.encode())
