"""Where a server stands, by the ``base_url`` of a recipe."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from openbook.errors import RecipeError


def host_of(base_url: str, *, where: str) -> str:
    """The host of an http address. Raises: RecipeError: it is none."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        # Not repeated in the message: an address may hold a password.
        raise RecipeError("base_url is no address", where=where, do="write it like http://localhost:11434/v1")
    return host


def is_loopback(host: str) -> bool:
    """Whether it is this machine, which needs no key and is reached by no proxy.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org")]
    [True, True, True, True, False]
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
