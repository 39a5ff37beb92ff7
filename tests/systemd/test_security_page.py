"""docs/security.md, typed in as it is written: certificates, the agent's host with a real systemd, a controller in its own namespace."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from lab import netns
from tests.systemd.machine import ROOT
from tests.systemd.unit import Unit

pytestmark = pytest.mark.timeout(1800)

PAGE = (ROOT / "docs/security.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ADDRESS = "192.0.2.1"


def test_every_command_of_the_security_page_works_and_the_audit_names_the_controller(started: Unit, tmp_path: Path) -> None:
    machine, address = started.machine, started.lab.topology.management("lb")
    certificates, host, controller, audit = (block.replace(ADDRESS, address) for block in BLOCKS)

    def here(script: str, *words: str) -> str:
        done = subprocess.run([*words, "bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    here(certificates)
    machine.path("/root/pki").mkdir()
    for name in ("ca.pem", "agent.pem", "agent.key"):
        machine.path(f"/root/pki/{name}").write_bytes((tmp_path / name).read_bytes())
    machine.run("bash", "-ec", f"cd /root/pki; {host}")
    enter = netns.entering(started.lab.namespace("controller"), [])
    ctl = f'l4lbctl() {{ {ROOT}/scripts/l4lbctl "$@"; }}\n{controller}'
    assert re.search(r"^READY +yes$", here(ctl, *enter), re.MULTILINE)
    here(f"{ctl}l4lbctl service create page --vip 192.0.2.77 --port 77 --protocol tcp", *enter)
    as_operator = f"{ctl.replace('admin.', 'operator.')}! l4lbctl service delete page"
    here(as_operator, *enter)
    last, *lines = machine.run("bash", "-ec", audit).splitlines()
    refused = json.loads(last)
    assert (refused["who"], refused["outcome"]) == ("spiffe://l4lb/role/operator", "PERMISSION_DENIED")
    assert any("who=spiffe://l4lb/role/admin role=admin" in line and "rpc=CreateVirtualService" in line for line in lines)
    here(f"{ctl}l4lbctl service delete page", *enter)
