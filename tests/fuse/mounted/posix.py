#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What POSIX and Linux promise programs about a filesystem, on a real mount. One test a function of posix_data.py and
posix_names.py; each gets a folder of its own.

posix.py [NAME...]: only these."""
import os
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import posix_data  # noqa: E402
import posix_names  # noqa: E402
from vaultmount import Vault, require  # noqa: E402


class Place:
    """A test's folder; remount() ends the mount and begins the next one."""

    def __init__(self, vault, name):
        self.vault = vault
        self.dir = os.path.join(vault.mnt, name)
        os.mkdir(self.dir)

    def path(self, name="file"):
        return os.path.join(self.dir, name)

    def remount(self):
        os.chdir("/")
        self.vault.remount()


def main():
    require("posix")
    wanted = sys.argv[1:]
    os.umask(0o022)
    vault = Vault("posix")
    vault.options = ("-o", "suid,dev,allow_other")
    vault.mount()
    os.chmod(vault.mnt, 0o755)
    failed = False
    for module in (posix_data, posix_names):
        for name, test in vars(module).items():
            if not name.startswith("test_") or (wanted and name[5:] not in wanted):
                continue
            try:
                test(Place(vault, name))
                print("ok posix:", name[5:])
            except Exception:  # a test may fail in any way
                failed = True
                traceback.print_exc(file=sys.stdout)
                print("not ok posix:", name[5:])
            sys.stdout.flush()
    try:
        vault.umount()
        print("ok posix: unmount")
    except Exception as e:
        failed = True
        print("not ok posix: unmount", e)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
