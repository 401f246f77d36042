# SPDX-License-Identifier: Apache-2.0
"""The control socket: the wire form, its limits, and what the methods do."""
import json
import os
import socket
import stat

from cases_mount import both, put
from harness import case, check, wait_until, workers_in
from varlink import Client, Malformed, Refused

RUN = '/run/wardfs'
US = 'org.wardfs.Control'
SERVICE = 'org.varlink.service'


def control(w):
    """The socket of the case's only mount."""
    for name in os.listdir(RUN):
        path = os.path.join(RUN, name)
        try:
            with Client(path) as client:
                if any(m['mountpoint'].startswith(w.folder) for m in client.call('Status')['mounts']):
                    return path
        except (ConnectionRefusedError, FileNotFoundError):
            pass
    raise AssertionError('nobody answers')


def error_of(client, method, parameters=None, **flags):
    client.send(method, parameters, **flags)
    reply = client.message()
    return reply['error'], reply['parameters']


@case
def control_describes_itself(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    path = control(w)
    check(stat.S_IMODE(os.stat(path).st_mode) == 0o600, 'mode of the socket')
    check(stat.S_IMODE(os.stat(RUN).st_mode) == 0o700, 'mode of the directory')
    with Client(path) as client:
        service = client.describe(SERVICE)
        client.send(SERVICE + '.GetInfo')
        info = client.message()['parameters']
        service.check(service.methods['GetInfo'][1], info, 'GetInfo')
        check(info['interfaces'] == [SERVICE, US], info)
        own = client.describe(US)
        check(own.name == US, own.name)
        # Every method that is described is there, and takes its own description's parameters.
        for method in own.methods:
            if method in ('Watch', 'Wait', 'Stop'):
                continue
            client.send(f'{US}.{method}', {'protocol': 1} if method == 'Handshake' else {})
            reply = client.message()
            check(reply.get('error') not in (SERVICE + '.MethodNotFound',), f'{method}: {reply}')
        state = client.call('Status')['mounts'][0]
        check(state['mountpoint'] == mnt and state['vault'] == v, state)
        check(client.call('Handshake', {'protocol': 1})['protocol'] == 1, 'handshake')
        try:
            client.call('Handshake', {'protocol': 99})
            check(False, 'version 99 is served')
        except Refused as refused:
            check(refused.error == US + '.VersionMismatch' and refused.parameters['protocol'] == 1, refused)


@case
def control_refuses_what_is_wrong(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    path = control(w)
    with Client(path) as client:
        check(error_of(client, US + '.Nonsense') == (SERVICE + '.MethodNotFound', {'method': US + '.Nonsense'}), 1)
        check(error_of(client, 'org.example.More.Ping') ==
              (SERVICE + '.InterfaceNotFound', {'interface': 'org.example.More'}), 2)
        check(error_of(client, 'x')[0] == SERVICE + '.MethodNotFound', 3)
        check(error_of(client, US + '.Handshake') ==
              (SERVICE + '.InvalidParameter', {'parameter': 'protocol'}), 4)
        check(error_of(client, US + '.Handshake', {'protocol': '1'})[0] == SERVICE + '.InvalidParameter', 5)
        check(error_of(client, SERVICE + '.GetInterfaceDescription', {'interface': 'a.b'})[0] ==
              SERVICE + '.InterfaceNotFound', 6)
        check(error_of(client, US + '.Status', upgrade=True)[0] == SERVICE + '.MethodNotImplemented', 7)
        # Two calls at once are answered in their order, one without an answer not at all.
        client.raw(b''.join(json.dumps(c).encode() + b'\0' for c in (
            {'method': US + '.Status', 'oneway': True}, {'method': SERVICE + '.GetInfo'}, {'method': US + '.Status'})))
        check('vendor' in client.message()['parameters'], 8)
        check('mounts' in client.message()['parameters'], 9)
    # What is no call ends the connection, and nothing else.
    for bad in (b'\0', b'x\0', b'[]\0', b'{}\0', b'{"method":1}\0', b'{"method":"a.b","method":"a.b"}\0',
                b'{"method":"a.B","parameters":[]}\0', b'{"method":"a.B","more":1}\0', b'{"method":"a\\u0000.B"}\0',
                b'{"method":"a.B"} x\0', b'\xff\xfe\0', b'{"method":"' + b'A' * 70000 + b'"}\0', b'[' * 60000 + b'\0',
                b'x' * 200000):
        with Client(path) as client:
            try:
                client.raw(bad)
                check(client.message() is None, f'{bad[:40]!r} is answered')
            except BrokenPipeError:
                pass
    with Client(path) as client:
        check(client.call('Status')['mounts'], 'nobody answers any more')
    check(os.path.ismount(mnt), 'the mount suffered')


@case
def control_limits_its_clients(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    path = control(w)
    pid = workers_in(w.folder)[0]
    before = len(os.listdir(f'/proc/{pid}/fd'))
    held = [Client(path) for _ in range(60)]
    for client in held:
        client.call('Status')
    more = []
    refused = 0
    for _ in range(20):
        client = Client(path)
        more.append(client)
        try:
            client.call('Status')
        except (Malformed, BrokenPipeError, ConnectionResetError, TypeError):
            refused += 1
    check(refused > 0, 'any number of clients is taken')
    for client in held + more:
        client.close()
    put(os.path.join(mnt, 'file'))

    def served():
        try:
            with Client(path) as client:
                return client.call('Status')['mounts']
        except (Malformed, BrokenPipeError, ConnectionResetError, TypeError):
            return False
    wait_until(served, 'places are free again')

    def few():
        with Client(path) as client:
            client.call('Status')
            return len(os.listdir(f'/proc/{pid}/fd')) <= before + 4
    wait_until(few, 'the descriptors of old clients are closed')


@case
def a_client_that_leaves_while_it_waits_leaves_its_place(w):
    """An umount that ends with 'in use', or is cut off, has waited for the end of the mount."""
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    path = control(w)
    held = os.open(mnt, os.O_RDONLY)
    w.refused(6, 'in use', 'umount', mnt)
    for _ in range(80):
        with Client(path) as client:
            client.send(US + '.Wait', {'mount': mnt}, more=True)
            check(client.message()['continues'], 'no word that it waits')
    with Client(path) as client:
        check(client.call('Status')['mounts'], 'nobody answers any more')
    # Who stays hears of it.
    waiting = [Client(path) for _ in range(3)]
    for client in waiting:
        client.send(US + '.Wait', more=True)
        check(client.message()['continues'], 'no word that it waits')
    w.ok('lock', mnt)
    os.close(held)
    w.ok('umount', mnt)
    for client in waiting:
        check(client.message()['parameters']['code'] == 0, 'the end')
        client.close()


@case
def control_closes_descriptors_nobody_asked_for(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    path = control(w)
    for count in (1, 3, 40):
        ends = [socket.socketpair() for _ in range(count)]
        with Client(path) as client:
            client.raw(b'{"method":"org.wardfs.Control.Status"}\0', [far.fileno() for _, far in ends])
            client.message()
            for near, far in ends:
                far.close()
                near.settimeout(20)
                check(near.recv(1) == b'', 'the descriptor is kept')
                near.close()


@case
def control_watch_sees_the_end(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    with Client(control(w)) as client:
        seen = client.replies('Watch')
        check(next(seen)['mount']['mountpoint'] == mnt, 'the first reply')
        w.ok('umount', mnt)
        check([r['event'] for r in seen if r][-1] == 'absent', 'no event')


@case
def control_stop_unmounts(w):
    v, mnt = both(w)
    w.ok('mount', v, mnt)
    put(os.path.join(mnt, 'file'))
    with Client(control(w)) as client:
        client.send(US + '.Wait', more=True)
        check(client.message()['continues'], 'no word that it waits')
        with Client(control(w)) as other:
            other.call('Stop', {'mount': mnt})
        check(client.message()['parameters'] == {'code': 0}, 'the end')
    wait_until(lambda: not workers_in(w.folder), 'the worker has ended')
    check(not os.path.ismount(mnt), 'still mounted')
