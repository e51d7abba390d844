"""Who knocks: from where, how often, and what is said of those who were refused."""

from .addresses import address_of, address_of_scope, network_of, network_of_scope
from .buckets import Buckets, buckets
from .refusals import refused, refused_request

__all__ = [
    "Buckets",
    "address_of",
    "address_of_scope",
    "buckets",
    "network_of",
    "network_of_scope",
    "refused",
    "refused_request",
]
