#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A vault on ext4, XFS and tmpfs: a tree goes in, the host's space is told, a full host refuses and lets deletes through.
set -u
# shellcheck source=tests/fuse/mounted/lib.sh
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
begin hosts

# host ext4|xfs|tmpfs DIR: mounts such a filesystem of about 400 MiB.
host() {
	mkdir -p "$2" || return 1
	case $1 in
	tmpfs) mount -t tmpfs -o size=400m none "$2" || return 1 ;;
	*)
		truncate -s 400M "$work/$1.img" && "mkfs.$1" -q "$work/$1.img" && mount -o loop "$work/$1.img" "$2" ||
			return 1
		;;
	esac
	mounted+=("$2")
}

# statfs of the mount tells the host's space, in blocks of its own size.
same_space() {
	local a b
	a=$(stat -f -c '%b * %S / 65536' "$1") && b=$(stat -f -c '%b * %S / 65536' "$2") && [ "$((a))" -eq "$((b))" ]
}

manifest() {
	/usr/bin/python3 "$here/manifest.py" --inodes "$1"
}

# Writes more than the host has: an error must come (at fsync at the latest), and it must be "no space".
fill() {
	LC_ALL=C dd if=/dev/urandom of="$1/filler" bs=1M count=500 conv=fsync 2>"$work/fill.err" && return 1
	grep -q 'No space left on device' "$work/fill.err" || {
		cat "$work/fill.err"
		return 1
	}
}

# The room comes back when the deletion has reached the host, a checkpoint later at most.
write_again() {
	local until=$((SECONDS + 20))
	while [ "$SECONDS" -lt "$until" ]; do
		{ head -c 3000000 /dev/urandom >"$1" && sync "$1"; } 2>/dev/null && return 0
		sleep 0.5
	done
	return 1
}

one_host() {
	local kind=$1 dir=$work/$1
	local vault=$dir/vault mnt=$work/$1.mnt
	must make_vault "$vault"
	must mount_vault "$vault" "$mnt"
	check "$kind: statfs" same_space "$dir" "$mnt"
	check "$kind: cp -a" cp -a /usr/include/linux "$mnt/tree"
	check "$kind: sparse file" truncate -s 1T "$mnt/sparse"
	sync -f "$mnt"
	manifest "$mnt/tree" >"$work/before"
	check "$kind: full" fill "$mnt"
	check "$kind: deleting on a full host" rm "$mnt/filler"
	check "$kind: writing again" write_again "$mnt/again"
	check "$kind: remount" remount_vault "$vault" "$mnt"
	manifest "$mnt/tree" >"$work/after"
	check "$kind: the tree is the same" cmp "$work/before" "$work/after"
	check "$kind: the sparse file is the same" [ "$(stat -c %s "$mnt/sparse")" = 1099511627776 ]
	check "$kind: unmount" unmount_vault "$mnt"
	umount "$dir"
}

for kind in ext4 xfs tmpfs; do
	if host "$kind" "$work/$kind" 2>"$work/host.err"; then
		one_host "$kind"
	else
		echo "skip hosts: $kind # cannot be mounted here: $(head -n 1 "$work/host.err")"
	fi
done
finish
