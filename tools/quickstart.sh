#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# From a clean clone to a mounted vault on Debian 12: installs what is needed (that needs root), builds, makes
# a demonstration vault, mounts it, copies a real folder in, and shows the ciphertext beside the plaintext.
# The folder stays mounted; the last lines say how to go on and how to remove everything.
# May be run as often as one likes: each run makes a new demonstration folder and leaves older ones alone.
#
# WARDFS_DEMO   where to make it (default: ~/wardfs-demo, then ~/wardfs-demo-2, …)
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
source=$(cd "$(dirname "$0")/.." && pwd)
build=$source/build
wardfs=$build/tools/wardfs

step() {
	printf '\n== %s\n' "$*"
}

fail() {
	printf 'quickstart: %s\n' "$*" >&2
	exit 1
}

install_packages() {
	local packages=(gcc libc6-dev meson ninja-build pkgconf libssl-dev libargon2-dev
		libfuse3-dev fuse3 libjansson-dev libsystemd-dev)
	local missing=() package log
	[ "$(dpkg --print-architecture)" != amd64 ] || packages+=(libipsec-mb-dev)
	for package in "${packages[@]}"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			missing+=("$package")
	done
	if [ "${#missing[@]}" -eq 0 ]; then
		echo "everything is installed already"
		return
	fi
	[ "$(id -u)" -eq 0 ] || fail "please install these as root first: apt-get install ${missing[*]}"
	echo "${missing[*]}"
	log=$(mktemp)
	# The package lists of a machine may be old or absent: ask for them only when they do not do.
	if ! apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
		if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } \
			>"$log" 2>&1; then
			tail -n 20 "$log" >&2
			rm -f "$log"
			fail "the packages could not be installed"
		fi
	fi
	rm -f "$log"
}

build_wardfs() {
	local log=$build/quickstart.log
	mkdir -p "$build"
	# Debian's meson with Debian's python, whatever stands in front of them on this machine.
	local PATH=/usr/sbin:/usr/bin:/sbin:/bin
	if [ ! -e "$build/build.ninja" ] && ! meson setup -Dtests=false "$build" "$source" >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		fail "meson could not configure $build"
	fi
	if ! ninja -C "$build" tools/wardfs >"$log" 2>&1; then
		tail -n 40 "$log" >&2
		fail "the build failed; all of it is in $log"
	fi
	echo "$wardfs"
}

# The device may be missing because its module is not loaded, or because this is a bare container root.
need_fuse() {
	[ ! -e /dev/fuse ] || return 0
	[ "$(id -u)" -eq 0 ] || fail "there is no /dev/fuse; as root: modprobe fuse"
	modprobe fuse 2>/dev/null || true
	[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229 || fail "there is no /dev/fuse here"
}

choose_folder() {
	local base=${WARDFS_DEMO:-${HOME:-/root}/wardfs-demo} n=2
	demo=$base
	while [ -e "$demo" ]; do
		demo=$base-$n
		n=$((n + 1))
	done
}

# Words that can be typed: 12 letters and digits are 60 bits.
make_passphrase() {
	passphrase=$(head -c 30 /dev/urandom | base32 -w 0 | tr '[:upper:]' '[:lower:]')
	passphrase=${passphrase:0:12}
}

show_both_sides() {
	local plain cipher
	plain=$(find "$demo/private" -type f -name '*.h' -size +8k | sort | sed -n 1p)
	cipher=$(find "$demo/vault" -mindepth 2 -type f -size +8k | sort | sed -n 1p)
	echo "What you see in $demo/private:"
	find "$demo/private" -mindepth 2 -maxdepth 2 | sort | sed -n '1,5s/^/    /p'
	echo "What the disk sees in $demo/vault:"
	find "$demo/vault" -mindepth 1 -type f | sort | sed -n '1,5s/^/    /p'
	echo "The start of a file here (${plain##*/}):"
	od -A x -t x1z -N 64 "$plain" | sed '$d;s/^/    /'
	echo "The start of the contents of an object there (${cipher##*/}):"
	# Behind the object's header page.
	od -A x -t x1z -j 4096 -N 64 "$cipher" | sed '$d;s/^/    /'
}

step "1. installing what is needed"
install_packages
step "2. building in $build"
build_wardfs
need_fuse
choose_folder
make_passphrase
step "3. making a vault: $demo/vault"
mkdir -p "$demo/private"
"$wardfs" init --passfd 3 "$demo/vault" 3<<<"$passphrase"
step "4. mounting it at $demo/private"
"$wardfs" mount --passfd 3 "$demo/vault" "$demo/private" 3<<<"$passphrase"
step "5. copying a real folder in"
folder=/usr/include/linux
[ -d "$folder" ] || folder=$source/fusefs
cp -a "$folder" "$demo/private/"
sync -f "$demo/private"
diff -r "$folder" "$demo/private/${folder##*/}"
echo "$folder: $(find "$folder" -type f | wc -l) files, the copy in the vault is the same"
step "6. both sides"
# What was copied reaches the vault's objects with the next checkpoint, or at once when unmounting.
"$wardfs" umount "$demo/private"
"$wardfs" mount --passfd 3 "$demo/vault" "$demo/private" 3<<<"$passphrase"
show_both_sides

cat <<END

== The folder $demo/private is mounted: work in it.
The passphrase of this demonstration vault is:  $passphrase

Go on with:
    $wardfs status
    $wardfs umount $demo/private
    $wardfs mount $demo/vault $demo/private
    $wardfs passwd $demo/vault
    man $source/man/wardfs.1
Remove it all:
    $wardfs umount $demo/private && rm -r $demo
END
