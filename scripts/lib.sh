# SPDX-License-Identifier: Apache-2.0
# Sourced by every script here: where things are. ROOT is the checkout, VENV the hash-locked environment that scripts/setup makes (one for
# each content of the lock file, shared by all checkouts), PYTHON its interpreter: /usr/bin/python3 underneath, because only that one
# sees Debian's bcc.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${L4LB_CACHE:-/var/cache/l4lb}
LOCK=$ROOT/requirements/dev.txt
VENV=$CACHE/venv-$(sha256sum "$LOCK" | cut -c1-12)
PYTHON=$VENV/bin/python
export PYTHONPATH=$ROOT/agent:$ROOT/clients/python:$ROOT PYTHONDONTWRITEBYTECODE=1
say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 2; }
