#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stress-ng's filesystem stressors, a few seconds each; --verify makes them check what they read.
set -u
# shellcheck source=tests/fuse/mounted/lib.sh
. "$(dirname "$0")/lib.sh"
begin stress
vault=$work/vault
mnt=$work/mnt

stressors=(access chdir chmod chown copy-file dentry dir dirdeep fallocate fcntl fiemap filename flock getdent hdd
	iomix lease link locka lockf lockofd mknod open rename seek symlink sync-file touch utime xattr)

must make_vault "$vault"
must mount_vault "$vault" "$mnt"
available=" $(stress-ng --stressors 2>/dev/null) "
for s in "${stressors[@]}"; do
	case $available in
	*" $s "*) ;;
	*)
		echo "skip stress: $s # this stress-ng does not have it"
		continue
		;;
	esac
	mkdir "$mnt/$s"
	extra=()
	case $s in
	hdd | iomix | fallocate) extra=("--$s-bytes" 8m) ;;
	copy-file) extra=(--copy-file-bytes 128m) ;;
	seek) extra=(--seek-size 8m) ;;
	esac
	check "$s" stress-ng --"$s" 2 --timeout 2 --verify --temp-path "$mnt/$s" --quiet ${extra[@]+"${extra[@]}"}
	check "$s leaves a tree that can be walked" find "$mnt/$s" -type f -size +1G -fprint /dev/null
	rm -rf "${mnt:?}/$s"
done
check "remount" remount_vault "$vault" "$mnt"
check "everything could be removed" [ -z "$(ls -A "$mnt")" ]
check "unmount" unmount_vault "$mnt"
finish
