# SPDX-License-Identifier: Apache-2.0
# Sourced by every script here: where things are. ROOT is the checkout, VENV the hash-locked environment that scripts/setup makes (one for
# each content of the lock file, shared by all checkouts), PYTHON its interpreter: /usr/bin/python3 underneath, because only that one
# sees Debian's bcc.
set -euo pipefail
umask 022 # what is set up here is read by users who are not root
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${L4LB_CACHE:-/var/cache/l4lb}
LOCK=$ROOT/requirements/dev.txt
VENV=$CACHE/venv-$(sha256sum "$LOCK" | cut -c1-12)
PYTHON=$VENV/bin/python
export PYTHONPATH=$ROOT/agent:$ROOT/clients/python:$ROOT PYTHONDONTWRITEBYTECODE=1
say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 2; }

# Takes the lock FILE on descriptor 9 until this process ends, also when it becomes another program. A wait that lasts says for whom: FILE,
# what whoever has it has been doing
take_turn() {
    exec 9<> "$1"
    if ! flock -w 1 9; then
        say "waiting for process $(cat "$1"), which has been $2 since $(date -r "$1" +%T)"
        flock 9
    fi
    echo $$ > "$1"
}

# Refuses to work on files that the package manager put there.
not_packaged() {
    ! dpkg-query -S /usr/bin/l4lb-agent > /dev/null 2>&1 || die "the package l4lb-agent is installed: apt remove l4lb-agent first"
}

# Debian packages, only those that are missing: names
apt() { apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@"; }
missing_packages() {
    local p
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2> /dev/null)" = installed ] || echo "$p"
    done
}
install_packages() {
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
    say "apt: $*"
    apt update || die "apt-get update failed: check the network and /etc/apt/sources.list"
    say "apt: $(apt-get install --assume-no --no-install-recommends "$@" 2> /dev/null | grep -E '^(Need to get|After this)' | tr '\n' ' ')"
    apt install -y --no-install-recommends "$@" > "$CACHE/apt.log" 2>&1 || { tail -20 "$CACHE/apt.log" >&2; die "apt-get could not install: $*"; }
}
need_packages() {
    local missing
    missing=$(missing_packages "$@")
    # shellcheck disable=SC2086
    [ -z "$missing" ] || install_packages $missing
}
