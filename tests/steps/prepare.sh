#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# prepare.sh LIST: gives root what a bare container root (made by debootstrap, say) lacks and the tests need: /proc, terminals,
# /etc/mtab, and the device of FUSE where the kernel has it. Says what it does; writes into LIST what is to be unmounted at the end.
set -u
list=$1
: >"$list"
[ "$(id -u)" -eq 0 ] || exit 0

# provide DIR TESTFILE TYPE OPTIONS
provide() {
	[ ! -e "$2" ] || return 0
	if mkdir -p "$1" && mount -t "$3" -o "$4" "$3" "$1" 2>/dev/null; then
		echo "mounted $1 for the tests"
		echo "$1" >>"$list"
	fi
}
provide /proc /proc/self/mountinfo proc nosuid,nodev,noexec
provide /dev/pts /dev/pts/ptmx devpts newinstance,ptmxmode=0666,mode=0620,gid=5

# fusermount3 finds in it what an ordinary user may unmount; systemd makes it at boot.
if [ ! -e /etc/mtab ] && ln -sn ../proc/self/mounts /etc/mtab 2>/dev/null; then
	echo "made /etc/mtab"
fi
if [ ! -e /dev/fuse ]; then
	grep -qw fuse /proc/filesystems || modprobe fuse 2>/dev/null || exit 0
	if [ ! -e /dev/fuse ] && mknod -m 666 /dev/fuse c 10 229 2>/dev/null; then
		echo "made /dev/fuse"
		if ! (exec 3<>/dev/fuse) 2>/dev/null; then
			rm -f /dev/fuse
			echo "but this container may not open it"
		fi
	fi
fi
exit 0
