"""Which addresses are on the public internet. Pure."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

_NAT64: Final = IPv6Network("64:ff9b::/96")
_DOCUMENTATION: Final = IPv6Network("3fff::/20")
"""For examples only (RFC 9637, of 2024): younger than the list of the Pythons that this runs on."""
_EMBEDDED_BELOW: Final = 2**32
"""``::/96``, where IPv4 addresses were once written into IPv6 ones."""


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet and to one machine.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, NAT64) are judged as what they lead to; Teredo is never public.
    """
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        return _is_public_v6(ip)
    return _is_public_v4(ip)


def _is_public_v4(ip: IPv4Address) -> bool:
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def _is_public_v6(ip: IPv6Address) -> bool:
    inner = ip.ipv4_mapped or ip.sixtofour
    if ip in _NAT64:
        inner = IPv4Address(int(ip) & 0xFFFFFFFF)
    if inner is not None:
        return _is_public_v4(inner)
    if int(ip) < _EMBEDDED_BELOW or ip.teredo is not None or ip in _DOCUMENTATION:
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_site_local)
