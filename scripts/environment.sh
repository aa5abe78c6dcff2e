# Go to the root of the repository and make or repair .venv there.
#
#   bash scripts/environment.sh  the package and all tools for work on it
#
# The other scripts source this file and say what they need:
#
#   environment ibsuite             what a run needs
#   environment 'ibsuite[test]'     what the tests need as well
#   environment 'ibsuite[release]'  what builds and checks a release, too
#
# Afterwards $python is the environment's own interpreter.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$PWD/.venv
python=$venv/bin/python

fail() {
    echo "error: $*" >&2
    exit 1
}

# The first Python that is new enough, as $base.
find_python() {
    local new_enough='import sys; sys.exit(sys.version_info < (3, 10))'
    for base in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$base" -c "$new_enough" 2>/dev/null; then
            "$base" -c 'import venv, ensurepip' 2>/dev/null \
                || fail "$base cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt install python3-venv)"
            return
        fi
    done
    command -v python3 >/dev/null || fail "Python 3.10 or newer is needed, and there is no python3 here"
    fail "Python 3.10 or newer is needed; python3 is $(python3 --version 2>&1)"
}

# Whether $1 has been installed here, from this pyproject.toml. A stamp names the folder, as a clone may be moved.
is_installed() {
    local stamp=$venv/$1.installed
    [[ -x $python && $stamp -nt pyproject.toml && $(<"$stamp") == "$PWD" ]]
}

install() {
    local what=.${1#ibsuite}
    export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300} PIP_DISABLE_PIP_VERSION_CHECK=1
    if "$python" -m pip install --quiet uv; then
        "$python" -m uv pip install --quiet --python "$python" --editable "$what" && return
    fi
    echo "uv did not manage, pip tries"
    "$python" -m pip install --quiet --editable "$what" || fail "the installation failed; say the same again to go on"
}

environment() {
    is_installed "$1" && return
    local unfinished=$venv/unfinished
    if [[ -e $unfinished ]] || ! "$python" -m pip --version >/dev/null 2>&1; then
        find_python
        [[ -e $venv ]] && echo "$venv is incomplete and made anew"
        "$base" -m venv --clear "$venv" || fail "$base could not make $venv"
    fi
    local cost=
    [[ -e $venv/ibsuite.installed ]] || cost=" (once; a few minutes and 6 GB, most of it PyTorch)"
    echo "installing $1 into $venv$cost"
    touch "$unfinished"
    trap 'exit 130' INT
    install "$1"
    for stamp in ibsuite "$1"; do
        echo "$PWD" >"$venv/$stamp.installed"
    done
    rm "$unfinished"
    trap - INT
}

# Run instead of sourced: everything for work on the package itself.
[[ ${BASH_SOURCE[0]} != "$0" ]] || environment "ibsuite[${1:-dev}]"
