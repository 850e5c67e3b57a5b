# Sourced by bin/test and bin/demo, from the project's folder.

# make_venv LOCK: .venv with exactly what the lock names, by hash. Nothing is done if that is what it has.
make_venv() {
    lock=$1
    wanted=$(cat "$lock" | cksum)
    # The development lock holds the other one too, so an environment made for tests serves the demo.
    if [ -x .venv/bin/python ]; then
        [ "$(cat ".venv/$lock.installed" 2>/dev/null)" = "$wanted" ] && return 0
        if [ "$lock" = requirements.lock ] && [ -e .venv/requirements-dev.lock.installed ]; then
            [ "$(cat .venv/requirements-dev.lock.installed)" = "$(cat requirements-dev.lock | cksum)" ] && return 0
        fi
    fi
    for name in python3 python3.11 python3.12 python3.13 python3.14 none; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    done
    [ "$name" != none ] || { echo "Python 3.11 or newer is needed, as python3" >&2; return 1; }
    echo "== making .venv from $lock (once; some 20 seconds)" >&2
    [ -x .venv/bin/python ] || "$name" -m venv .venv || return 1
    .venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8 || return 1
    .venv/bin/python -m uv pip install --quiet --python .venv/bin/python --require-hashes -r "$lock" || return 1
    rm -f .venv/*.installed
    echo "$wanted" >".venv/$lock.installed"
}
