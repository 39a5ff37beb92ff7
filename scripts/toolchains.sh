# SPDX-License-Identifier: Apache-2.0
# Sourced after lib.sh by what builds or generates the clients of other languages: which toolchains are here, and what they need from their
# registries, pinned by clients/go/go.sum and clients/typescript/package-lock.json. Nothing but those clients and their tests needs it.
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly

# Prints why this machine cannot build the client of a language; prints nothing when it can.
missing_toolchain() { # go|typescript
    case $1 in
        go)
            local wanted have
            wanted=$(sed -n 's/^go //p' "$ROOT/clients/go/go.mod")
            have=$(go env GOVERSION 2> /dev/null | sed 's/^go//' || true)
            [ -n "$have" ] && printf '%s\n' "$wanted" "$have" | sort -CV || echo "needs go $wanted or newer${have:+, here is $have}"
            ;;
        typescript)
            local major
            major=$(node --version 2> /dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
            [ -n "$major" ] && [ "$major" -ge 20 ] && command -v npm > /dev/null || echo "needs node 20 or newer with npm${major:+, here is node $major}"
            ;;
        python) ;;
        *) die "$1 is not a client: python, go or typescript" ;;
    esac
}

# Prints the folder with the node_modules of clients/typescript, made once for each content of its lock file. No package runs code of its own.
node_packages() {
    local source=$ROOT/clients/typescript folder
    folder=$CACHE/node-$(cat "$source/package.json" "$source/package-lock.json" | sha256sum | cut -c1-12)
    (
        take_turn "$CACHE/node.lock" "fetching packages of clients/typescript"
        if [ ! -e "$folder/.complete" ]; then
            say "npm: the packages of clients/typescript, about 65 MB on disk"
            rm -rf "$folder"
            mkdir -p "$folder"
            cp "$source/package.json" "$source/package-lock.json" "$folder"
            (cd "$folder" && npm ci --silent --ignore-scripts --no-audit --no-fund) >&2 || die "npm ci failed in $folder"
            touch "$folder/.complete"
        fi
    )
    echo "$folder"
}
