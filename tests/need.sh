#!/usr/bin/env bash
# need.sh PACKAGE:TEST...: installs Debian packages where what they bring is missing.
# TEST is a program, an absolute path, a <header>, or python:MODULE for Debian's python3.
set -u

present() {
    case $1 in
    /*) [ -e "$1" ] ;;
    '<'*) echo "#include $1" | "${CXX:-g++}" -std=c++17 -fsyntax-only -x c++ - 2>/dev/null ;;
    python:*) /usr/bin/python3 -c "import ${1#python:}" 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

mkdir -p "$(dirname "$0")/../build"
exec 9>"$(dirname "$0")/../build/need.lock"
flock 9 # others may be installing the same
missing=()
for pair; do present "${pair#*:}" || missing+=("${pair%%:*}"); done
[ ${#missing[@]} -gt 0 ] || exit 0

say() { echo "missing: ${missing[*]}. Install it, on Debian by: apt-get install ${missing[*]}" >&2; exit 1; }
command -v apt-get >/dev/null || say
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || say
    as_root=(sudo -n)
fi
get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq install -y \
        --no-install-recommends "${missing[@]}" >/dev/null 9>&-
}
# policy-rc.d is Debian's way to keep a package from starting its service: nobody asked for one.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy" &&
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
echo "installing ${missing[*]}" >&2
get 2>/dev/null || { "${as_root[@]}" apt-get -qq update && get; } || say
for pair; do present "${pair#*:}" || { echo "${pair#*:} is still missing" >&2; exit 1; }; done
