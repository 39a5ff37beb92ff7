"""What a frame says of itself, as far as values outside of the datapath need it."""

from typing import Final

_ETHERNET, _TAG = 14, 4
_IPV4, _IPV6, _TAGGED = b"\x08\x00", b"\x86\xdd", b"\x81\x00"
_WITH_PORTS: Final = (6, 17)  # TCP, UDP


def source_port(frame: bytes) -> int | None:
    """Source port of the TCP or UDP packet in an Ethernet frame with or without one 802.1Q tag; None when there is none right behind the IP
    header: another protocol, an extension header, a frame that ends before."""
    at = _ETHERNET + _TAG if frame[12:14] == _TAGGED else _ETHERNET
    kind, ip = frame[at - 2 : at], frame[at:]
    if kind == _IPV4 and len(ip) >= 20:
        protocol, header = ip[9], (ip[0] & 15) * 4
    elif kind == _IPV6 and len(ip) >= 40:
        protocol, header = ip[6], 40
    else:
        return None
    ports = ip[header : header + 2]
    return int.from_bytes(ports, "big") if protocol in _WITH_PORTS and len(ports) == 2 else None
