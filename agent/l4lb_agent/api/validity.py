"""From when to when a certificate is valid, out of its DER (X.690) by the order of fields that RFC 5280, section 4.1, prescribes.

TLS looks at that in a full handshake only: a caller who resumes a session, or stays connected, is not looked at again.
"""

import ssl
from datetime import UTC, datetime
from functools import lru_cache

_VERSION, _UTC_TIME = 0xA0, 0x17


@lru_cache(maxsize=1024)
def valid(pem: bytes) -> tuple[float, float]:
    """(begin, end) of a certificate in PEM, Unix seconds. Raises ValueError for what is none."""
    try:
        der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii").strip())
        _, at, _ = _element(der, 0)  # Certificate
        _, at, _ = _element(der, at)  # TBSCertificate
        for _ in range(4 if der[at] == _VERSION else 3):  # version, serialNumber, signature, issuer
            _, _, at = _element(der, at)
        _, at, _ = _element(der, at)  # Validity
        begin, at = _time(der, at)
        return begin, _time(der, at)[0]
    except IndexError as error:
        raise ValueError("a certificate that is cut short") from error


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """(tag, beginning of its content, end) of the element at `at`."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, at = int.from_bytes(der[at : at + octets]), at + octets
    return tag, at, at + length


def _time(der: bytes, at: int) -> tuple[float, int]:
    tag, start, end = _element(der, at)
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year, those from 50 on of the century before (section 4.1.2.5.1)
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp(), end
