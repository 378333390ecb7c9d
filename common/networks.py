"""Where somebody unknown comes from, as one whose limits are counted."""

from ipaddress import IPv6Address, ip_address


def network_of(address: str) -> str:
    """Of one subscriber, as far as an address tells. Never empty."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
