# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For the tests on a real mount: vaults, mounts, one line a test, and unmounting whatever happens.
# A script sources it, calls begin NAME, and ends with finish.

: "${WARDFS_SRC:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)}"
: "${WARDFS_TEST_BUILD:=$WARDFS_SRC/build-test}"
: "${WARDFS_TEST_TMP:=/var/tmp}"
wardfs=$WARDFS_TEST_BUILD/normal/tools/wardfs
export WARDFS_SRC WARDFS_TEST_BUILD WARDFS_TEST_TMP LC_ALL=C.UTF-8

group=
work=
mounted=()
bad=0

# begin NAME: a working folder in $work; says "skip" and ends where mounting is impossible.
begin() {
	group=$1
	if [ "$(id -u)" -ne 0 ]; then
		echo "skip $group # needs root"
		exit 0
	fi
	if ! (exec 3<>/dev/fuse) 2>/dev/null; then
		echo "skip $group # /dev/fuse is missing or cannot be opened"
		exit 0
	fi
	if [ ! -x "$wardfs" ]; then
		echo "not ok $group: $wardfs is not built"
		exit 1
	fi
	work=$(mktemp -d -p "$WARDFS_TEST_TMP" --suffix=".$group") || exit 1
	printf 'a test passphrase\n' >"$work/pass"
	chmod 600 "$work/pass"
	trap clean_up EXIT
	trap 'exit 130' INT TERM
}

clean_up() {
	local i
	for ((i = ${#mounted[@]} - 1; i >= 0; i--)); do
		umount "${mounted[i]}" 2>/dev/null || umount -l "${mounted[i]}" 2>/dev/null
	done
	rm -rf --one-file-system "$work"
}

# check NAME COMMAND...: one test.
check() {
	local name=$1 from=$SECONDS
	shift
	if "$@"; then
		echo "ok $group: $name ($((SECONDS - from)) s)"
	else
		echo "not ok $group: $name"
		bad=1
	fi
}

# must COMMAND...: without it the rest makes no sense.
must() {
	if ! "$@"; then
		echo "not ok $group: $*"
		exit 1
	fi
}

# make_vault DIR
make_vault() {
	mkdir -p "$(dirname "$1")" && "$wardfs" init --passfile "$work/pass" --kdf-memory 8 --kdf-passes 1 "$1"
}

# mount_vault DIR MNT [OPTION]...
mount_vault() {
	local vault=$1 mnt=$2
	shift 2
	mkdir -p "$mnt" && "$wardfs" mount --passfile "$work/pass" "$@" "$vault" "$mnt" && mounted+=("$mnt")
}

# unmount_vault MNT: cleanly, and really gone.
unmount_vault() {
	"$wardfs" umount "$1" && ! mountpoint -q "$1"
}

# remount_vault DIR MNT
remount_vault() {
	unmount_vault "$2" && mount_vault "$1" "$2"
}

finish() {
	exit $bad
}
