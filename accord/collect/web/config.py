"""How a server is reached, and how much it takes: what a page or a request may rely on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from urllib.parse import urlsplit

from accord.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerConfig:
    """url: what people type into the browser. hosts: the names under which it answers, with that of the url.

    proxies: addresses of proxies whose X-Forwarded-For is believed; of nobody else. Sizes in bytes.
    """

    url: str = "http://127.0.0.1:8000"
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    body_bytes: int = 1_000_000
    upload_bytes: int = 200_000_000

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise InputError("no address of a site", where=self.url, fix="give one such as https://label.example.org")
        for proxy in self.proxies:
            try:
                ip_address(proxy)
            except ValueError:
                raise InputError("no address of a proxy", where=proxy, fix="give one such as 127.0.0.1") from None

    @cached_property
    def https(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @cached_property
    def origin(self) -> str:
        """The url as browsers name it in Origin: without a path, and without the port that goes without saying."""
        parts = urlsplit(self.url.lower())
        usual = {"http": 80, "https": 443}[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
        return f"{parts.scheme}://{host}" + ("" if parts.port in (None, usual) else f":{parts.port}")

    @cached_property
    def names(self) -> frozenset[str]:
        """Hosts that are answered to. A site on this machine answers to all names of it."""
        host = str(urlsplit(self.url).hostname)
        return frozenset(
            {host, *(one.lower().strip("[]") for one in self.hosts), *(LOOPBACK if is_loopback(host) else ())}
        )

    @cached_property
    def insecure(self) -> bool:
        """Plain http beyond this machine: anybody on the way can read along. Every page says so."""
        return not self.https and not is_loopback(str(urlsplit(self.url).hostname))

    @cached_property
    def cookie(self) -> str:
        """The session's cookie. With the prefix a browser takes it over https only, and from this host only."""
        return "__Host-accord" if self.https else "accord"

    @cached_property
    def early_cookie(self) -> str:
        """The cookie of who is not logged in: forms before a login carry the same value."""
        return f"{self.cookie}-form"


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
