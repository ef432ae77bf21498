"""
The data centres of Chat, and which base URLs may carry a signature.

https://www.tencentcloud.com/document/product/1047/34620 lists the hosts and the backups, which are
meant for the hijacking of a host's DNS name.
"""

import enum
import ipaddress
import os
import urllib.parse
from collections.abc import Mapping

from chatmark.errors import InputError
from chatmark.lazy import publish


class Region(enum.Enum):
    """
    A data centre. An application belongs to one; the others answer 60026.

    RIYADH stands only on pages of 2026 for other calls, MUMBAI only on pages before July 2024.

    Attributes:
        host: The host of the REST API.
        backup_host: The host to use when DNS for `host` is hijacked.
    """

    CHINA = ("console.tim.qq.com", "adminapi.my-imcloud.com")
    SINGAPORE = ("adminapisgp.im.qcloud.com", "adminapisgp.my-imcloud.com")
    SEOUL = ("adminapikr.im.qcloud.com", "adminapikr.my-imcloud.com")
    TOKYO = ("adminapijpn.im.qcloud.com", "adminapijpn.my-imcloud.com")
    FRANKFURT = ("adminapiger.im.qcloud.com", "adminapiger.my-imcloud.com")
    SILICON_VALLEY = ("adminapiusa.im.qcloud.com", "adminapiusa.my-imcloud.com")
    JAKARTA = ("adminapiidn.im.qcloud.com", "adminapiidn.my-imcloud.com")
    RIYADH = ("adminapiksa.im.qcloud.com", "adminapiksa.my-imcloud.com")
    MUMBAI = ("adminapiind.im.qcloud.com", "adminapiind.my-imcloud.com")

    def __init__(self, host: str, backup_host: str) -> None:
        self.host = host
        self.backup_host = backup_host

    @property
    def url(self) -> str:
        """The base URL of the data centre."""
        return f"https://{self.host}"

    @property
    def backup_url(self) -> str:
        """The base URL of the data centre's backup host."""
        return f"https://{self.backup_host}"


def describe(url: str) -> str:
    """Return a base URL, with the region's name where it is the URL of one."""
    names = {at: each.name for each in Region for at in (each.url, each.backup_url)}
    return f"{url} ({names[url]})" if url in names else url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_base_url(base_url: str) -> str:
    """
    Return a base URL without its trailing slash.

    Raises:
        InputError: It is not an http or https URL of a host alone, holds a password, or is plain
            http to a host that is not loopback: every URL of the API carries the signature.
    """
    if not isinstance(base_url, str):
        raise InputError("base_url", "must be text, for example 'https://console.tim.qq.com'")
    if not base_url.isprintable() or " " in base_url:
        raise InputError("base_url", "has blanks or control characters")
    try:
        parts = urllib.parse.urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        # The text of the error may repeat a password.
        raise InputError("base_url", "must be a URL of a host and a port") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InputError("base_url", "must be an http or https URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("base_url", "has more than scheme, host, port and path")
    # Besides loopback plain http may go to emulators, never to Chat.
    named = os.environ.get("CHATMARK_HTTP_HOSTS", "").lower().split(",")
    is_emulator = host in named and not any(host in region.value for region in Region)
    if parts.scheme == "http" and not is_loopback(host) and not is_emulator:
        fault = (
            "plain http is for loopback only: the URL carries the signature; name the host of an "
            "emulator on a private network in CHATMARK_HTTP_HOSTS"
        )
        raise InputError("base_url", fault)
    return base_url.rstrip("/")


def region_of(name: Region | str, field: str = "region") -> Region:
    """
    Return a region by its name, in any case, with "-" or "_".

    Raises:
        InputError: There is no such region.

    >>> region_of("silicon-valley").host
    'adminapiusa.im.qcloud.com'
    """
    if isinstance(name, Region):
        return name
    known = name.strip().upper().replace("-", "_") if isinstance(name, str) else ""
    if known not in Region.__members__:
        names = ", ".join(each.name.lower() for each in Region)
        raise InputError(field, f"must be a Region or one of {names}", name)
    return Region[known]


def resolve_base_url(region: Region | str | None, base_url: str | None) -> str:
    """
    Return the base URL that one of *region* and *base_url* names.

    Raises:
        InputError: Both are given, or none, or the base URL is wrong.
    """
    if (region is None) == (base_url is None):
        raise InputError("region", "exactly one of region and base_url is needed")
    if base_url is not None:
        return check_base_url(base_url)
    return region_of(region or "").url


def server_from_env(environ: Mapping[str, str] | None = None) -> dict[str, Region | str]:
    """
    Return the server that the environment names, as an argument of a session.

    Raises:
        InputError: Not exactly one of `CHATMARK_REGION` and `CHATMARK_BASE_URL` is set, or the
            region is unknown.
    """
    env = os.environ if environ is None else environ
    region, base_url = env.get("CHATMARK_REGION"), env.get("CHATMARK_BASE_URL")
    if bool(region) == bool(base_url):
        raise InputError("CHATMARK_REGION", "set exactly one of it and CHATMARK_BASE_URL")
    if base_url:
        return {"base_url": base_url}
    return {"region": region_of(region or "", "CHATMARK_REGION")}


publish(__name__)
