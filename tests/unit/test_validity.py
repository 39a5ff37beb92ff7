"""When a certificate is valid is read as openssl(1) reads it."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from l4lb_agent.api.validity import valid
from lab.certificates import Authority


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 2077])
def test_both_times_are_read_in_either_notation(tmp_path: Path, year: int) -> None:
    begins = datetime(year, 12, 30, 23, 59, 58, tzinfo=UTC)
    made = Authority(tmp_path).issue("short", [], begins=begins, days=3)
    assert valid(made.cert.read_bytes()) == (begins.timestamp(), (begins + timedelta(days=3)).timestamp())


@pytest.mark.parametrize("size", range(0, 200, 9))
def test_what_is_no_certificate_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match="."):
        valid(ssl.DER_cert_to_PEM_cert(b"\x30\x82" + bytes(size)).encode())
    with pytest.raises(ValueError, match="."):
        valid(bytes(size))
