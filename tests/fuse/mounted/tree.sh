#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A real tree goes in with cp -a, tar and git; after unmounting and mounting again it is the same to the last bit.
set -u
# shellcheck source=tests/fuse/mounted/lib.sh
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
begin tree
vault=$work/vault
mnt=$work/mnt
# Looking must not change anything: git status would refresh its index.
export GIT_OPTIONAL_LOCKS=0
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'

manifest() {
	/usr/bin/python3 "$here/manifest.py" "$@"
}

# Names, types and attributes that cp -a has to carry over, made on the host first.
odd_files() {
	local d=$1 name
	mkdir -p "$d/sub/deep" && cd "$d" || return 1
	name=$(printf 'n%.0s' {1..255})
	echo long >"$name"
	printf 'x' >$'new\nline'
	printf 'y' >$'\xff\xfe not utf-8'
	printf 'z' >'-rf'
	: >empty
	head -c 3000 /dev/urandom >inline
	head -c 3300 /dev/urandom >just-not-inline
	head -c 4096 /dev/urandom >page
	head -c 4097 /dev/urandom >page-and-a-byte
	head -c 1000000 /dev/urandom >large
	mkfifo fifo
	mknod char c 1 3
	mknod block b 7 250
	/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
	ln -s "$(printf 't%.0s' {1..4095})" long-link
	ln -s ../nowhere dangling
	ln -s . self
	chown 12345:54321 large fifo sub
	chown -h 3:4 dangling
	chmod 7755 large
	chmod 0 empty
	chmod 1777 sub
	touch -h -d '1969-12-31 23:59:59.123456789 UTC' inline
	touch -h -d '2106-02-07 06:28:17.000000001 UTC' page
	touch -d '2001-02-03 04:05:06.987654321 UTC' sub
	touch -h -d '2011-02-03 04:05:06.5 UTC' dangling
	# Where the host has no extended attributes (some containers), the mount's are tested by posix.py all the same.
	setfattr -n user.test -v 'some value' large 2>/dev/null
	setfattr -n user.big -v "$(printf 'v%.0s' {1..2000})" large 2>/dev/null
	setfacl -m u:1234:rw,g:99:r large 2>/dev/null
	setfacl -d -m u:77:rwx sub 2>/dev/null
	true
}

link_farm() {
	local d=$1 i k
	mkdir -p "$d"/{a,b,c,d,e} || return 1
	for ((i = 0; i < 300; i++)); do
		echo "content of $i" >"$d/a/f$i" || return 1
		for k in b c d e; do
			ln "$d/a/f$i" "$d/$k/other-$i" || return 1
		done
	done
}

sparse_file() {
	truncate -s 2G "$1" &&
		printf 'at the start' | dd of="$1" conv=notrunc status=none &&
		head -c 100000 /dev/urandom | dd of="$1" bs=1000 seek=1073741 conv=notrunc status=none &&
		printf 'at the end' | dd of="$1" bs=1 seek=2147483638 conv=notrunc status=none
}

same_tree() {
	manifest "$1" >"$work/a" && manifest "$2" >"$work/b" && diff "$work/a" "$work/b" | head -20 &&
		cmp -s "$work/a" "$work/b"
}

same_manifest() {
	manifest --inodes "$mnt" >"$work/after" && diff "$work/before" "$work/after" | head -20 &&
		cmp -s "$work/before" "$work/after"
}

# Inode numbers apart: they are the last but one word, before the extended attributes.
same_as_before() {
	sed 's/ [0-9]* \([^ ]*\)$/ \1/' "$work/before" >"$work/a" && manifest "$1" >"$work/b" &&
		diff "$work/a" "$work/b" | head -20 && cmp -s "$work/a" "$work/b"
}

shares=()
for d in zoneinfo man i18n perl5 bash-completion mime; do
	[ ! -d "/usr/share/$d" ] || shares+=("$d")
done

must make_vault "$vault"
must mount_vault "$vault" "$mnt"
(odd_files "$work/odd") || must false

check "cp -a of /usr/include" cp -a /usr/include "$mnt/include"
tar -C /usr/share -cf "$work/share.tar" "${shares[@]}"
mkdir "$mnt/share"
check "tar -x of a part of /usr/share" tar -C "$mnt/share" -xpf "$work/share.tar"
if [ -e "$WARDFS_SRC/.git" ]; then
	check "git clone" git clone -q --no-hardlinks "$WARDFS_SRC" "$mnt/clone"
fi
check "cp -a of odd files" cp -a "$work/odd" "$mnt/odd"
check "hard-link farm" link_farm "$mnt/farm"
check "sparse file of 2 GiB" sparse_file "$mnt/sparse"
check "sparse file takes little room" [ "$(du -sk "$vault" | cut -f 1)" -lt $((1 << 20)) ]
sum=$(sha256sum <"$mnt/sparse")
manifest --inodes "$mnt" >"$work/before"

check "unmount" unmount_vault "$mnt"
check "nothing is left in the mount point" [ -z "$(ls -A "$mnt")" ]
check "mount again" mount_vault "$vault" "$mnt"

check "diff -r of /usr/include" diff -r --no-dereference /usr/include "$mnt/include"
check "/usr/include with owners, times, attributes" same_tree /usr/include "$mnt/include"
check "odd files with owners, times, attributes" same_tree "$work/odd" "$mnt/odd"
check "tar --compare" tar -C "$mnt/share" --compare -f "$work/share.tar"
[ ! -e "$mnt/clone" ] || check "git fsck" git -C "$mnt/clone" fsck --full --strict
[ ! -e "$mnt/clone" ] || check "git status is clean" [ -z "$(git -C "$mnt/clone" status --porcelain)" ]
check "hard links" [ "$(stat -c %h "$mnt/farm/c/other-17")" = 5 ]
check "sparse file's checksum" [ "$(sha256sum <"$mnt/sparse")" = "$sum" ]
check "everything, with inode numbers, as before unmounting" same_manifest
check "unmount for the decoder" unmount_vault "$mnt"
check "the independent decoder extracts it" /usr/bin/python3 "$WARDFS_SRC/tests/interop/wardfs_decode.py" "$vault" \
	"$work/pass" extract "$work/extracted"
check "what it extracts is the same" same_as_before "$work/extracted"
check "mount for the last time" mount_vault "$vault" "$mnt"
check "rm -rf" rm -rf "$mnt/include" "$mnt/share" "$mnt/farm" "$mnt/odd"
check "unmount at the end" unmount_vault "$mnt"
finish
