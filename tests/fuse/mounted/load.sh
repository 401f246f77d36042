#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Programs that check themselves: fio with checksums, sqlite, git, a compiler.
set -u
# shellcheck source=tests/fuse/mounted/lib.sh
. "$(dirname "$0")/lib.sh"
begin load
vault=$work/vault
mnt=$work/mnt
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
	GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=Test GIT_CONFIG_KEY_2=user.email GIT_CONFIG_VALUE_2=test@example.org

# fio_verify NAME ENGINE EXTRA...: random writes by 4 jobs, read back and compared with their crc32c.
fio_verify() {
	local name=$1 engine=$2
	shift 2
	mkdir -p "$mnt/fio" || return 1
	if ! (cd "$work" && fio --name="$name" --directory="$mnt/fio" --ioengine="$engine" --rw=randwrite \
		--bsrange=512-65536 --size=24m --numjobs=4 --verify=crc32c --do_verify=1 --verify_fatal=1 \
		--fallocate=none --group_reporting --output-format=terse "$@" >"$work/fio.out"); then
		cat "$work/fio.out"
		return 1
	fi
}

# What fio wrote before, compared again after a new mount.
fio_verify_only() {
	fio_verify "$1" "$2" --verify_only=1 "${@:3}"
}

sqlite_transactions() {
	local i
	{
		echo "PRAGMA journal_mode=$1; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB, w TEXT);"
		for ((i = 1; i <= $2; i++)); do
			echo "BEGIN; INSERT INTO t VALUES($i, randomblob(300), 'row $i');"
			echo "UPDATE t SET w = w || '.' WHERE id = $((i / 2)); COMMIT;"
		done
	} | sqlite3 -bail "$mnt/$1.db" >/dev/null &&
		[ "$(sqlite3 "$mnt/$1.db" 'PRAGMA integrity_check; SELECT count(*) FROM t;')" = $'ok\n'"$2" ]
}

sqlite_intact() {
	[ "$(sqlite3 "$mnt/$1.db" 'PRAGMA integrity_check; SELECT count(*) FROM t;')" = $'ok\n'"$2" ]
}

git_life() {
	local i
	git init -q "$mnt/repo" && cd "$mnt/repo" || return 1
	for ((i = 0; i < 40; i++)); do
		mkdir -p "d$((i % 7))"
		seq "$i" $((i + 400)) >"d$((i % 7))/f$i"
		seq "$i" 3 $((i + 900)) >common
		git add -A && git commit -q -m "commit $i" || return 1
	done
	git branch other HEAD~10 && git gc -q --aggressive --prune=now && git fsck --full --strict &&
		git checkout -q other && git checkout -q - && [ -z "$(git status --porcelain)" ]
}

# Three hundred small files with headers, built in parallel, linked, run; built again after one header changed.
compile() {
	local i n=300
	mkdir -p "$mnt/build" && cd "$mnt/build" || return 1
	for ((i = 0; i < n; i++)); do
		printf '#pragma once\nint f%d(int x);\n' "$i" >"h$i.h"
		printf '#include "h%d.h"\n#include "h%d.h"\nint f%d(int x) { return x < 2 ? x : f%d(x - 1) + 1; }\n' \
			"$i" $(((i + 1) % n)) "$i" $(((i + 1) % n)) >"f$i.c"
	done
	printf '#include "h0.h"\nint main(void) { return f0(1000) == 1000 ? 0 : 1; }\n' >main.c
	cat >Makefile <<-'EOF'
		OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
		prog: $(OBJECTS) ; gcc -o $@ $^
		%.o: %.c ; gcc -O0 -MMD -c -o $@ $<
		-include $(wildcard *.d)
	EOF
	make -s -j 4 && ./prog && make -q && touch h7.h && ! make -q && make -s -j 4 && make -q && ./prog
}

must make_vault "$vault"
must mount_vault "$vault" "$mnt"
check "fio, 4 jobs, pwrite" fio_verify plain psync
check "fio, 4 jobs, mmap" fio_verify mapped mmap
check "fio, 4 jobs, O_DIRECT" fio_verify direct psync --direct=1 --bsrange=4096-65536 --bs_unaligned=0
check "fio, 4 jobs, fsync after 16 writes" fio_verify synced psync --fsync=16 --size=4m
check "sqlite, 1,000 transactions" sqlite_transactions delete 1000
check "sqlite in WAL mode, 1,000 transactions" sqlite_transactions wal 1000
check "git commits, gc, fsck" git_life
check "build of 300 files" compile
cd / || exit 1
must remount_vault "$vault" "$mnt"
check "fio's files after a new mount" fio_verify_only plain psync
check "fio's mapped files after a new mount" fio_verify_only mapped mmap
check "sqlite after a new mount" sqlite_intact delete 1000
check "sqlite in WAL mode after a new mount" sqlite_intact wal 1000
check "git fsck after a new mount" git -C "$mnt/repo" fsck --full --strict
check "the program after a new mount" "$mnt/build/prog"
check "unmount" unmount_vault "$mnt"
finish
