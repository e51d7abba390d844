"""Several servers as one: each passes on what its links tell, over Redis; the database stays the truth."""

from .peers import Peers, peers

__all__ = ["Peers", "peers"]
