# Sourced by run and test: installs what is missing, on Debian and Ubuntu.
#
#   install_missing PACKAGE…    quiet when nothing is missing; fails when something could not be installed

build_packages="gcc libc6-dev pkg-config meson ninja-build python3 libsqlite3-dev libcivetweb-dev libjansson-dev
libcurl4-openssl-dev libssl-dev libedit-dev zlib1g-dev"
test_packages="clang clang-format libclang-rt-dev libcmocka-dev libjwt-dev openssl python3-websockets curl sqlite3 nodejs valgrind"

package_installed() {
    dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# The prefix that makes a command run as root; fails when there is no way to.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 1
    fi
}

install_missing() {
    local package missing=
    command -v dpkg-query >/dev/null || return 0 # another system: the build names what it misses
    for package in "$@"; do
        package_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    echo "installing:$missing" >&2
    if ! apt_install $missing; then
        { as_root apt-get update -q >/dev/null && apt_install $missing; } || {
            printf 'could not install:%s\nas root, run: apt-get install%s\n' "$missing" "$missing" >&2
            return 1
        }
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" \
        >"${TMPDIR:-/tmp}/rowtap-apt.$$" 2>&1 </dev/null
    local status=$?
    [ $status -eq 0 ] || tail -n 3 "${TMPDIR:-/tmp}/rowtap-apt.$$" >&2
    rm -f "${TMPDIR:-/tmp}/rowtap-apt.$$"
    return $status
}
