#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building and testing need, if one is missing; asks apt for nothing otherwise.
set -u
packages=(
	# to build
	gcc libc6-dev meson ninja-build pkgconf libssl-dev libargon2-dev libfuse3-dev fuse3 libjansson-dev check
	# optional features: QR codes, a look at passphrases, TPM (with one in software for the tests), FIDO2 tokens
	libqrencode-dev libpwquality-dev libtss2-dev swtpm libfido2-dev
	# logind: sd-bus, and a private bus for its stand-in
	libsystemd-dev dbus-daemon
	# sanitizers come with gcc; clang is for the fuzz targets, the rest for the static checks
	clang libclang-rt-14-dev clang-format clang-tidy cppcheck mandoc shellcheck
	# the mount tests
	python3 python3-cryptography python3-argon2 attr acl fio sqlite3 git rsync tar xfsprogs e2fsprogs btrfs-progs stress-ng
	bc make file procps util-linux kmod
)
# An accelerator that exists on x86 only.
[ "$(dpkg --print-architecture)" != amd64 ] || packages+=(libipsec-mb-dev)

missing=()
for package in "${packages[@]}"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)
	[ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

echo "installing: ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
	echo "not root: please install them first: apt-get install ${missing[*]}" >&2
	exit 1
fi
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
install() {
	apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1
}
# The lists of a machine may be old or absent; ask for them only when they do not do.
install || { apt-get update -q >"$log" 2>&1 && install; } || {
	tail -n 30 "$log" >&2
	exit 1
}
