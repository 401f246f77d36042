#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Cases of tests/cli through a running wardfsd: what they ask does not depend on who starts the worker. In a mount namespace
# with a /run of its own, so that no wardfsd of the machine is met. Not those that look at the private broker itself, at the
# case's own anchors, or at the vault at once after umount(8).
set -u
cases=(mount-is-usable-at-once mount-defaults mount-read-only lock-keeps-the-mount freeze-ends-by-itself
	what-is-underneath-is-closed-while-mounted an-unmounted-folder-stays-closed-when-wanted rotate-a-mounted-vault
	rotate-goes-on-after-a-lock rotate-refuses)
if ! unshare -m true 2>/dev/null; then
	echo "skip cli-daemon # no mount namespaces here"
	exit 0
fi
state=$(mktemp -d "${WARDFS_TEST_TMP:-/var/tmp}/state.XXXXXX") || exit 1
export WARDFS_SRC XDG_STATE_HOME=$state
# shellcheck disable=SC2016
unshare -m bash -c 'mount -t tmpfs -o mode=0755 tmpfs /run && exec /usr/bin/python3 "$WARDFS_SRC/tests/cli/run" --daemon "$@"' \
	bash "${cases[@]}"
status=$?
rm -rf "$state"
exit $status
