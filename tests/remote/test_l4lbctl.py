"""The command line over TCP."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from textual.widgets import Static

from l4lb.aio import AsyncClient
from l4lb.cli.main import cli
from l4lb.top.app import Top
from tests.remote.conftest import Pki, Served


def run(*words: object, **environment: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], env={name: str(value) for name, value in environment.items()})


def options(pki: Pki, role: str) -> list[object]:
    files = pki.files(role)
    return ["--ca", files["ca"], "--cert", files["cert"], "--key", files["key"]]


def test_options_and_environment_name_the_certificates(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    served, files = serve(shared_pki.door()), shared_pki.files("viewer")
    assert run("-s", served.door.listen, *options(shared_pki, "viewer"), "agent").exit_code == 0
    environment = {"L4LB_TARGET": served.door.listen, "L4LB_CA": files["ca"], "L4LB_CERT": files["cert"], "L4LB_KEY": files["key"]}
    assert run("agent", **environment).exit_code == 0


def test_the_name_in_the_agents_certificate_may_be_given(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    named = shared_pki.authority.issue("named", ["DNS:lb1.example.org"])
    served = serve(shared_pki.door(cert=named.cert, key=named.key))
    line = ["-s", served.door.listen, *options(shared_pki, "viewer")]
    assert run(*line, "--server-name", "lb1.example.org", "agent").exit_code == 0
    refused = run(*line, "agent")
    assert refused.exit_code == 3
    assert "--server-name" in refused.output


def test_a_role_that_is_too_small_is_told(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    served = serve(shared_pki.door())
    line = ["-s", served.door.listen, *options(shared_pki, "viewer")]
    refused = run(*line, "service", "create", "web", "--vip", "192.0.2.10", "--port", "80")
    assert refused.exit_code == 1
    assert "ROLE_NOT_ALLOWED" in refused.output
    assert "--cert" in refused.output


@pytest.mark.parametrize("left_out", ["--ca", "--cert", "--key"])
def test_a_tcp_target_without_every_file_is_wrong_usage(shared_pki: Pki, left_out: str) -> None:
    line = options(shared_pki, "viewer")
    at = line.index(left_out)
    refused = run("-s", "127.0.0.1:7443", *line[:at], *line[at + 2 :], "agent")
    assert refused.exit_code == 2
    assert "by TLS only" in refused.output


def test_files_that_are_not_there_or_no_certificates_are_told(shared_pki: Pki, serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(shared_pki.door())
    missing = run("-s", served.door.listen, "--ca", tmp_path / "none", "agent")
    assert missing.exit_code == 2
    assert "none" in missing.output
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    files = shared_pki.files("viewer")
    broken = run("-s", served.door.listen, "--ca", files["ca"], "--cert", bad, "--key", files["key"], "agent")
    assert broken.exit_code in (2, 3)
    assert "Traceback" not in broken.output


def test_an_agent_that_does_not_take_the_certificate_is_unreachable_with_a_hint(
    shared_pki: Pki, serve: Callable[..., Served], tmp_path: Path
) -> None:
    from lab.certificates import Authority

    served, other = serve(shared_pki.door()), Authority(tmp_path / "other").controller("admin")
    line = ["-s", served.door.listen, "--ca", shared_pki.authority.ca, "--cert", other.cert, "--key", other.key]
    refused = run(*line, "agent")
    assert refused.exit_code == 3
    assert "does it take your certificate" in refused.output


async def test_top_works_over_a_remote_connection(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    served = serve(shared_pki.door())
    files = shared_pki.files("viewer")
    app = Top(lambda: AsyncClient(served.door.listen, **files), served.door.listen, interval=0.1)
    async with app.run_test(size=(80, 24)) as pilot:
        async with asyncio.timeout(20):
            while f"{served.door.listen}  ready" not in str(app.query_one("#head", Static).content):  # drawn some time after it is known
                await pilot.pause(0.05)
        assert app.state.sample is not None
        assert app.state.agent is not None
