#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Cases of tests/cli through a running wardfsd, a new one for each case, in the environment of the case: what they ask does not
# depend on who starts the worker. In a mount namespace with a /run of its own, so that no wardfsd of the machine is met.
#
# What cannot run this way:
#   control-watch-sees-the-end              the stream of a broker of one vault ends with the vault, that of wardfsd does not
#   freeze-under-load-makes-a-copy          mounts a copy as on another machine, with a state folder that its wardfsd does not have
#   a-locked-mount-can-be-unmounted         ends the broker; tests/fuse/mounted/deaths.py kills wardfsd in every state
#   the-death-of-workers-is-survived        the same
#   a-closed-folder-is-given-back-after-a-crash  the same
#   wardfsd-serves-many-vaults, waiting-attempts-block-nobody, those of logind    start a wardfsd, or a logind for it, themselves
# What does but is left out for its time: what mounts only to have something to check or restore, and waits for clocks.
set -u
cases=(
	# mounting
	mount-defaults mount-is-usable-at-once mount-on-a-read-only-host mount-options-have-an-effect
	mount-point-bad-input mount-point-with-odd-bytes mount-prints-nothing mount-read-only mount-twice mount-with-relative-paths
	mounts-over-one-another two-read-only-mounts a-damaged-header-copy-is-no-obstacle foreground foreground-reports-a-failure
	no-fuse-device wrong-passphrase
	# its end
	umount-bad-input umount-by-others umount-lazily umount-of-a-mount-in-use umount-when-the-worker-was-killed
	a-signal-loses-nothing-of-a-mount-in-use signals-end-cleanly
	# the worker
	the-worker-is-a-daemon the-passphrase-shows-nowhere the-passphrase-is-wiped-from-the-worker status-lists-mounts
	status-of-a-killed-worker control-stop-unmounts watching-sees-every-change
	# locking
	lock-keeps-the-mount lock-all-locks-every-vault a-signal-locks
	freeze-ends-by-itself frozen-vault-is-let-go-by-a-signal
	# the folder underneath
	what-is-underneath-is-closed-while-mounted an-unmounted-folder-stays-closed-when-wanted what-a-user-closed-is-left-alone
	# secrets
	live-passwd-and-change live-add-label-test-remove live-change-while-frozen-or-rotating
	changed-keyslots-are-told-of-at-the-next-mount who-can-open-beside-a-mount
	# rotation and check
	rotate-a-mounted-vault rotate-goes-on-after-a-lock rotate-refuses
	rotate-after-a-leak-of-a-mounted-vault check-of-a-mounted-vault
)
if ! unshare -m true 2>/dev/null; then
	echo "skip cli-daemon # no mount namespaces here"
	exit 0
fi
export WARDFS_SRC
# shellcheck disable=SC2016
exec unshare -m bash -c 'mount -t tmpfs -o mode=0755 tmpfs /run && exec /usr/bin/python3 "$WARDFS_SRC/tests/cli/run" --daemon "$@"' \
	bash "${cases[@]}"
