# SPDX-License-Identifier: Apache-2.0
"""check and check --repair on vaults with real damage."""
import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import threading

import damage
from harness import CHEAP, PASSPHRASE, Skipped, case, check, mounted, wait_until, workers_in

FILES = 100  # in each directory
BIG_PAGES = 700


def content(name):
    """Deterministic, of very different lengths: inline, one page, many."""
    seed = hashlib.sha256(name.encode()).digest()
    size = (seed[0] * 14) if seed[1] % 8 else 4096 * (seed[2] % 12) + seed[3]
    return (seed * (size // 32 + 1))[:size]


def fill(root, dirs):
    for d in range(dirs):
        folder = f'{root}/d{d:02}'
        os.mkdir(folder)
        for f in range(FILES):
            with open(f'{folder}/file {f:03}', 'wb') as out:
                out.write(content(f'{d}/{f}'))
    for name in 'big data', 'big node', 'big both':
        with open(f'{root}/{name}', 'wb') as out:
            for i in range(BIG_PAGES):
                out.write(hashlib.sha256(f'{name} {i}'.encode()).digest() * 128)
    for i in range(20):
        os.link(f'{root}/d00/file {i:03}', f'{root}/d01/link {i:03}')
    with open(f'{root}/attributes', 'wb') as out:
        out.write(b'attributes')
    os.setxattr(f'{root}/attributes', 'user.large', b'x' * 9000)
    os.makedirs(f'{root}/deep/a/b/c')
    with open(f'{root}/deep/a/b/c/leaf', 'wb') as out:
        out.write(b'leaf' * 5000)
    os.symlink('short', f'{root}/deep/symlink')
    os.symlink('l' * 2000, f'{root}/deep/long symlink')
    os.mkfifo(f'{root}/deep/fifo')


def look(root):
    """Every path with its type and content; a file that cannot be read says so."""
    seen = {}
    for folder, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(folder, name)
            try:
                st = os.lstat(path)
            except OSError as e:
                seen[os.path.relpath(path, root)] = e.errno
                continue
            what = stat.S_IFMT(st.st_mode)
            if stat.S_ISREG(st.st_mode):
                try:
                    with open(path, 'rb') as f:
                        what = hashlib.sha256(f.read()).hexdigest()
                except OSError as e:
                    what = e.errno
            elif stat.S_ISLNK(st.st_mode):
                what = os.readlink(path)
            seen[os.path.relpath(path, root)] = what
    return seen


def unmount(w, mnt):
    w.ok('umount', mnt)
    wait_until(lambda: not mounted(mnt), 'it is unmounted')


_made = {}


def made(w, dirs=30):
    """A copy of a vault with 100 files in each of so many directories, and what is in it; made once."""
    if not os.path.exists('/dev/fuse'):
        raise Skipped('no /dev/fuse')
    if dirs not in _made:
        vault = os.path.join(os.path.dirname(w.folder), f'check-{dirs}.vault')
        w.ok('init', *CHEAP, vault)
        mnt = w.mountpoint('filled')
        w.ok('mount', vault, mnt)
        fill(mnt, dirs)
        tree = look(mnt)
        unmount(w, mnt)
        _made[dirs] = vault, tree
    copy = w.path('vault')
    subprocess.run(['cp', '-a', _made[dirs][0], copy], check=True)
    return copy, dict(_made[dirs][1])


def run_check(w, vault, *args, status=0, **more):
    done = w.run('check', '--json', '--names', *args, vault, **more)
    check(done.returncode == status, f'{args}: status {done.returncode} instead of {status}: '
          f'{done.stdout[-1500:]!r} {done.stderr!r}')
    return json.loads(done.stdout)


def kinds(result, severity=None):
    return {f['kind'] for f in result['findings'] if severity in (None, f['severity'])}


def tree_of(w, vault, *options):
    mnt = w.mountpoint('looked' + str(len(os.listdir(w.folder))))
    w.ok('mount', *options, vault, mnt)
    try:
        return look(mnt)
    finally:
        unmount(w, mnt)


def decoder_agrees(vault):
    """The independent decoder walks the whole vault and finds nothing wrong with it."""
    damage.Map(vault, PASSPHRASE)


def quarantine_of(tree):
    return {p for p in tree if p.startswith('wardfs-quarantine-')}


def compare(tree, after, changed=(), lost=()):
    """What came back: all but what is named."""
    for path, what in tree.items():
        if path in lost:
            continue
        check(path in after, f'{path} is gone')
        if path not in changed:
            check(after[path] == what, f'{path}: {after[path]!r} instead of {what!r}')
    surplus = set(after) - set(tree) - quarantine_of(after)
    check(not surplus, f'surplus: {sorted(surplus)[:5]}')


@case
def check_of_a_whole_vault(w):
    vault, tree = made(w)
    before = {p: os.stat(os.path.join(vault, p)).st_mtime_ns for p in os.listdir(vault)}
    result = run_check(w, vault)
    check(result['result'] == 'clean' and not result['findings'], str(result)[:500])
    check(result['totals']['names'] >= len(tree), str(result['totals']))
    check(before == {p: os.stat(os.path.join(vault, p)).st_mtime_ns for p in os.listdir(vault)}, 'it wrote')
    # Nothing to repair: nothing is changed, and it says so with the status of a clean vault.
    check(run_check(w, vault, '--repair')['result'] == 'clean', 'repair of a whole vault')
    check(not quarantine_of(tree_of(w, vault)), 'a quarantine without anything in it')
    w.refused(3, 'wrong passphrase', 'check', vault, stdin=b'wrong\n')
    w.refused(5, 'not a wardfs vault', 'check', w.folder)
    w.refused(14, 'no such directory', 'check', w.path('nowhere'))
    w.refused(2, '--repair', 'check', '--yes', vault)


@case
def check_names_and_repairs_pages_of_all_kinds_at_once(w):
    vault, tree = made(w)
    m = damage.Map(vault, PASSPHRASE)
    header = 'd05/file 050'
    table_lost = m.names_in_page('d07', 1)
    small = m.names_in_page('d07', 2)
    check(len(table_lost) > 5 and small, 'the directory has not enough pages')
    m.poke(m.number('big data'), damage.position(300))
    m.poke(m.number('big node'), damage.node_position(400))
    m.poke(m.number(header), 0, 600)
    m.poke(m.number('d07'), damage.position(1))
    m.poke(damage.LINKS, damage.position(0))
    m.poke(m.number('attributes'), 210)
    # Both superblocks: which of them counts depends on how many checkpoints there were.
    for block in (0, 1):
        damage.poke(os.path.join(vault, 'wardfs.journal'), 4096 * block + 100)
    damage.poke(os.path.join(vault, 'wardfs.vault.2'), 50000)
    before = run_check(w, vault, status=9)
    wanted = {'data-page', 'node-page', 'object-header', 'table-page', 'xattr-page', 'journal', 'header-copy',
              'link-without-file'}
    check(kinds(before, 'damage') == wanted, f'{kinds(before)}')
    by_kind = {f['kind']: f for f in before['findings']}
    check(by_kind['data-page']['path'] == '/big data' and by_kind['data-page']['first_page'] == 300, str(by_kind))
    check(by_kind['node-page']['first_page'] == 336 and by_kind['node-page']['pages'] == 128, str(by_kind['node-page']))
    check(by_kind['object-header']['path'] == '/' + header, str(by_kind['object-header']))
    # Other files read on.
    read_only = tree_of(w, vault, '--ro')
    for path, what in tree.items():
        if not path.startswith(('d07', 'd00/file 0', 'd01/link')) and path not in ('big data', 'big node', header, 'attributes'):
            check(read_only.get(path) == what, f'{path} does not read on: {read_only.get(path)!r}')
    # Nothing is given up without a word.
    done = w.run('check', '--repair', vault)
    check(done.returncode == 9 and b'--yes' in done.stderr, repr(done.stderr))
    check(kinds(run_check(w, vault, status=9)) == kinds(before), 'it changed something')
    repaired = run_check(w, vault, '--repair', '--yes', status=23)
    check(repaired['result'] == 'repaired' and repaired['repaired'] > 0, str(repaired['result']))
    decoder_agrees(vault)
    check(not kinds(run_check(w, vault), 'damage'), 'damage is left')
    after = tree_of(w, vault)
    lost = {f'd07/{n}' for n in table_lost if not content_of_path(f'd07/{n}')}
    compare(tree, after, changed={'big data', 'big node', header}, lost=lost)
    check(any(p.endswith('/report.txt') for p in after), 'no report')
    holes(w, vault, header)


def errno_of(function, *args):
    try:
        function(*args)
    except OSError as e:
        return e.errno
    return 0


def content_of_path(path):
    d, f = int(path[1:3]), int(path[-3:])
    return content(f'{d}/{f}')


def holes(w, vault, header):
    """What is lost reads as zeros and is marked; every other page of the file is there."""
    mnt = w.mountpoint('holes')
    w.ok('mount', vault, mnt)
    for name, first, last in ('big data', 300, 301), ('big node', 336, 464):
        with open(f'{mnt}/{name}', 'rb') as f:
            data = f.read()
        check(len(data) == BIG_PAGES * 4096, f'{name}: {len(data)} bytes')
        for i in range(BIG_PAGES):
            wanted = bytes(4096) if first <= i < last else hashlib.sha256(f'{name} {i}'.encode()).digest() * 128
            check(data[i * 4096:i * 4096 + 4096] == wanted, f'{name}: page {i}')
        mark = os.getxattr(f'{mnt}/{name}', 'user.wardfs.damaged').decode()
        check(mark == f'{first * 4096}-{last * 4096 - 1}', mark)
    check(os.getxattr(f'{mnt}/{header}', 'user.wardfs.damaged') == b'all', 'mark of a lost header')
    check(os.stat(f'{mnt}/{header}').st_size == len(content_of_path(header)), 'size of a file that lost its header')
    check('user.large' not in os.listxattr(f'{mnt}/attributes'), 'attributes out of nothing')
    check(os.stat(f'{mnt}/d00/file 003').st_nlink == 2, 'links')
    check(os.stat(f'{mnt}/d00/file 003').st_ino == os.stat(f'{mnt}/d01/link 003').st_ino, 'links of one file')
    unmount(w, mnt)


@case
def check_repairs_lost_directories(w):
    """Headers of directories: one with files, one with directories below, the links directory."""
    vault, tree = made(w)
    m = damage.Map(vault, PASSPHRASE)
    for number in (m.number('d03'), m.number('deep/a'), damage.LINKS):
        m.poke(number, 0, 700)
    before = run_check(w, vault, status=9)
    check('object-header' in kinds(before) and 'unnamed-object' in kinds(before), str(kinds(before)))
    run_check(w, vault, '--repair', '--yes', status=23)
    decoder_agrees(vault)
    compare(tree, tree_of(w, vault), lost=empty_files('d03'))
    check(not kinds(run_check(w, vault), 'damage'), 'damage is left')


def empty_files(folder):
    """They have no object, so nothing but the table knew of them."""
    paths = {f'{folder}/file {f:03}' for f in range(FILES)}
    return {p for p in paths if not content_of_path(p)}


@case
def check_repairs_a_lost_root(w):
    """The root's header, and that of a directory in it, whose name is lost with both."""
    vault, tree = made(w)
    m = damage.Map(vault, PASSPHRASE)
    number = m.number('d03')
    m.poke(number, 0, 700)
    m.poke(damage.ROOT, 0, 700)
    run_check(w, vault, '--repair', '--yes', status=23)
    decoder_agrees(vault)
    after = tree_of(w, vault)
    below = {p for p in tree if p == 'd03' or p.startswith('d03/')}
    compare(tree, after, lost=below)
    inside = [p for p in after if p.endswith(f'/{number:016x}-lost directory')]
    check(len(inside) == 1, f'{sorted(quarantine_of(after))[:5]}')
    for path in below - empty_files('d03') - {'d03'}:
        check(after.get(inside[0] + path[3:]) == tree[path], f'{path} in {inside[0]}')
    check(not kinds(run_check(w, vault), 'damage'), 'damage is left')


@case
def check_quarantines_what_no_table_names(w):
    """An object that was deleted and brought back gets no place of its own, and is named as unproven."""
    vault, tree = made(w)
    m = damage.Map(vault, PASSPHRASE)
    path = 'd11/file 001'
    if not content_of_path(path):
        path = 'd11/file 002'
    host = m.host(m.number(path))
    shutil.copy(host, w.path('kept'))
    folder = {p: m.number(p) for p in tree if p == 'deep' or p.startswith('deep/')}
    kept = {}
    for name, number in folder.items():
        if os.path.exists(m.host(number)):
            kept[name] = w.path(f'kept-{number:x}')
            shutil.copy(m.host(number), kept[name])
    mnt = w.mountpoint()
    w.ok('mount', vault, mnt)
    os.unlink(f'{mnt}/{path}')
    shutil.rmtree(f'{mnt}/deep')
    unmount(w, mnt)
    shutil.copy(w.path('kept'), host)
    for name, copy in kept.items():
        shutil.copy(copy, m.host(folder[name]))
    result = run_check(w, vault)
    check(kinds(result) == {'unnamed-object'}, str(kinds(result)))
    check(path not in tree_of(w, vault), 'it came back by itself')
    run_check(w, vault, '--repair', status=23)
    after = tree_of(w, vault)
    check(path not in after and 'deep' not in after, 'it came back where it was')
    there = [p for p in quarantine_of(after) if p.endswith(os.path.basename(path))]
    check(len(there) == 1 and after[there[0]] == tree[path], str(quarantine_of(after)))
    leaf = [p for p in quarantine_of(after) if p.endswith('-deep/a/b/c/leaf')]
    check(len(leaf) == 1 and after[leaf[0]] == tree['deep/a/b/c/leaf'], str(sorted(quarantine_of(after))))
    decoder_agrees(vault)
    check(not run_check(w, vault)['findings'], 'findings are left')


@case
def check_tells_tampering_from_damage(w):
    """Old copies, swapped objects, links in their places: authentic bytes where they do not belong."""
    vault, tree = made(w)
    m = damage.Map(vault, PASSPHRASE)
    old, one, two, fifo = 'd20/file 001', 'd21/file 003', 'd21/file 004', 'd22/file 005'
    for p in old, one, two, fifo:
        check(content_of_path(p), f'{p} is empty')
    shutil.copy(m.host(m.number(old)), w.path('old'))
    mnt = w.mountpoint()
    w.ok('mount', vault, mnt)
    with open(f'{mnt}/{old}', 'wb') as f:
        f.write(b'new')
    unmount(w, mnt)
    shutil.copy(w.path('old'), m.host(m.number(old)))
    a, b = m.host(m.number(one)), m.host(m.number(two))
    os.rename(a, w.path('swap'))
    os.rename(b, a)
    os.rename(w.path('swap'), b)
    os.unlink(m.host(m.number(fifo)))
    os.mkfifo(m.host(m.number(fifo)))
    os.mkdir(os.path.join(vault, 'junk'))
    folder = os.path.dirname(a)
    for i in range(200):
        with open(f'{folder}/junk {i}', 'wb') as f:
            f.write(b'junk')
    with open(os.path.join(folder, f'{m.number(one) ^ 0xff:016x}'), 'wb') as f:
        f.write(os.urandom(20000))
    os.symlink('/etc/passwd', os.path.join(folder, f'{m.number(one) ^ 0xfe:016x}'))
    result = run_check(w, vault, status=4)
    check(kinds(result, 'tampering') == {'object-old', 'object-swapped', 'object-not-plain'}, str(kinds(result)))
    check(kinds(result, 'note') == {'foreign-file', 'unnamed-file'}, str(kinds(result, 'note')))
    check(result['totals']['kinds']['foreign-file'] == 201, str(result['totals']))
    run_check(w, vault, '--repair', '--yes', status=23)
    after = tree_of(w, vault)
    compare(tree, after, changed={old, one, two, fifo})
    aside = [n for n in os.listdir(folder) if '.junk.' in n]
    check(len(aside) >= 2, f'what was replaced is gone: {aside}')
    decoder_agrees(vault)


@case
def check_lets_a_damaged_directory_be_used(w):
    """One page of its table: what stands in the others is there, and nothing pretends to be whole."""
    vault, tree = made(w)
    m = damage.Map(vault, PASSPHRASE)
    lost = {f'd07/{n}' for n in m.names_in_page('d07', 1)}
    there = [p for p in tree if p.startswith('d07/') and p not in lost]
    kept, gone = there[0], there[-1]
    m.poke(m.number('d07'), damage.position(1))
    mnt = w.mountpoint()
    w.ok('mount', vault, mnt)
    for path in there:
        with open(f'{mnt}/{path}', 'rb') as f:
            check(f.read() == content_of_path(path), f'{path} does not read on')
    for path in lost:
        check(errno_of(os.stat, f'{mnt}/{path}') == errno.EIO, f'{path} is said to be absent')
    check(errno_of(os.listdir, f'{mnt}/d07') == errno.EIO, 'a short list that looks complete')
    check(errno_of(os.mkdir, f'{mnt}/d07/new') == errno.EIO, 'a name that may be taken')
    check(errno_of(os.rename, f'{mnt}/deep/fifo', f'{mnt}/d07/fifo') == errno.EIO, 'a name that may be taken')
    with open(f'{mnt}/{kept}', 'ab') as f:
        f.write(b'more')
        f.flush()
        os.fsync(f.fileno())
    os.unlink(f'{mnt}/{gone}')
    for pid in workers_in(w.folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not workers_in(w.folder), 'the worker is gone')
    subprocess.run(['umount', '-l', mnt], check=False, stderr=subprocess.DEVNULL)
    w.ok('mount', vault, mnt)
    with open(f'{mnt}/{kept}', 'rb') as f:
        check(f.read() == content_of_path(kept) + b'more', 'what was fsynced in a damaged directory')
    check(errno_of(os.stat, f'{mnt}/{gone}') == errno.EIO, 'what was removed from a damaged directory')
    unmount(w, mnt)
    run_check(w, vault, '--repair', '--yes', status=23)
    after = tree_of(w, vault)
    check(gone not in after, 'a file came back that was removed')
    compare(tree, after, changed={kept}, lost={gone} | {p for p in lost if not content_of_path(p)})
    decoder_agrees(vault)


@case
def check_shows_no_names_to_a_log(w):
    vault, _ = made(w)
    m = damage.Map(vault, PASSPHRASE)
    m.poke(m.number('big data'), 5)
    for args in ((), ('--json',)):
        done = w.run('check', *args, vault)
        check(done.returncode == 9 and b'big data' not in done.stdout + done.stderr, repr(done.stdout))
        check(f'{m.number("big data"):016x}'.encode() in done.stdout, repr(done.stdout))
    done = w.run('check', '--names', '--progress=json', vault)
    check(b'/big data' in done.stdout, repr(done.stdout))


@case
def check_ends_when_it_is_interrupted(w):
    vault, _ = made(w)
    process = w.start('check', '--json', '--passfile', pass_file(w), vault, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE)
    wait_until(lambda: process.poll() is not None or signal_is_caught(process.pid), 'it works')
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been quicker
        check(process.returncode == 19, f'{process.returncode} {err!r}')
        check(json.loads(out)['result'] == 'interrupted', repr(out))
    check(not run_check(w, vault)['findings'], 'an interrupted check left something')


def pass_file(w):
    path = w.path('pass')
    with open(path, 'wb') as f:
        f.write(PASSPHRASE + b'\n')
    return path


def signal_is_caught(pid):
    try:
        with open(f'/proc/{pid}/status', encoding='ascii') as f:
            caught = next(line for line in f if line.startswith('SigCgt')).split()[1]
    except (OSError, StopIteration):
        return True
    return int(caught, 16) & 2


@case
def check_of_a_vault_that_was_killed(w):
    """Judged as the replay makes it, without writing."""
    vault, tree = made(w)
    mnt = w.mountpoint()
    w.ok('mount', vault, mnt)
    with open(f'{mnt}/new', 'wb') as f:
        f.write(b'n' * 100000)
        os.fsync(f.fileno())
    os.rename(f'{mnt}/d01', f'{mnt}/d01 moved')
    os.unlink(f'{mnt}/d02/file 007')
    for pid in workers_in(w.folder):
        with open(f'/proc/{pid}/cmdline', 'rb') as f:
            keyed = b'--worker' in f.read().split(b'\0')
        if keyed:
            os.kill(pid, signal.SIGKILL)
    subprocess.run(['umount', '-l', mnt], stderr=subprocess.DEVNULL, check=False)
    wait_until(lambda: not workers_in(w.folder), 'its processes are gone')
    stamp = os.stat(os.path.join(vault, 'wardfs.journal')).st_mtime_ns
    result = run_check(w, vault)
    check(not kinds(result, 'damage') and not kinds(result, 'tampering'), str(result)[:800])
    check(os.stat(os.path.join(vault, 'wardfs.journal')).st_mtime_ns == stamp, 'it wrote')
    after = tree_of(w, vault)
    check('new' in after and 'd01 moved' in after and 'd02/file 007' not in after, 'the replay')
    check(len(after) == len(tree), f'{len(after)} of {len(tree)}')


@case
def check_of_a_mounted_vault(w):
    """Through its worker, beside others who write and rename."""
    vault, tree = made(w)
    m = damage.Map(vault, PASSPHRASE)
    mnt = w.mountpoint()
    w.ok('mount', vault, mnt)
    ending = threading.Event()
    busy = threading.Thread(target=churn, args=(mnt, ending))
    busy.start()
    try:
        for args in ((), ('--names',)):
            result = run_check(w, mnt, *args, stdin=None)
            check(result['result'] == 'clean' and not kinds(result, 'damage'), str(result)[:800])
    finally:
        ending.set()
        busy.join()
    m.poke(m.number('big data'), damage.position(300))
    m.poke(m.number('d05/file 050'), 0, 600)
    result = run_check(w, vault, status=9, stdin=None)
    found = {(f['kind'], f.get('path')) for f in result['findings'] if f['severity'] != 'note'}
    check(found == {('data-page', '/big data'), ('object-header', '/d05/file 050')}, str(found))
    w.refused(6, 'unmount it first', 'check', '--repair', mnt)
    after = look(mnt)
    check(all(after.get(p) == what for p, what in tree.items() if p not in ('big data', 'd05/file 050')), 'others')
    unmount(w, mnt)
    run_check(w, vault, '--repair', '--yes', status=23)


def churn(mnt, ending):
    """Writes, renames across directories, removes, links; what it makes is gone at its end."""
    n = 0
    os.mkdir(f'{mnt}/churn')
    while not ending.is_set():
        n += 1
        os.makedirs(f'{mnt}/churn/{n}/below')
        with open(f'{mnt}/churn/{n}/below/file', 'wb') as f:
            f.write(os.urandom(30000))
        os.link(f'{mnt}/churn/{n}/below/file', f'{mnt}/churn/{n}/link')
        os.rename(f'{mnt}/churn/{n}', f'{mnt}/d{n % 30:02}/moved {n}')
        os.rename(f'{mnt}/d{n % 30:02}/moved {n}', f'{mnt}/churn/back {n}')
        shutil.rmtree(f'{mnt}/churn/back {n}')
    os.rmdir(f'{mnt}/churn')
