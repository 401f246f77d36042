# SPDX-License-Identifier: Apache-2.0
"""A strict Varlink client: frames, and every call and reply held against the interface description that the
service itself gives. Written from the Varlink specification, not from wardfs."""
import array
import json
import re
import socket

LIMIT_S = 30


class Malformed(Exception):
    pass


class Refused(Exception):
    def __init__(self, error, parameters):
        super().__init__(f'{error} {parameters}')
        self.error, self.parameters = error, parameters


TOKEN = re.compile(r'\s*(?:#[^\n]*\n\s*)*(->|\[\]|\[string\]|[?():,]|[A-Za-z][A-Za-z0-9_.\-]*|\Z)')
FIELD = re.compile(r'[A-Za-z](_?[A-Za-z0-9])*\Z')
MEMBER = re.compile(r'[A-Z][A-Za-z0-9]*\Z')
INTERFACE = re.compile(r'[A-Za-z](-*[A-Za-z0-9])*(\.[A-Za-z0-9](-*[A-Za-z0-9])*)+\Z')
BUILTIN = {'bool': bool, 'int': int, 'float': (int, float), 'string': str}


class Interface:
    """Parses an interface description."""

    def __init__(self, text):
        self.types, self.methods, self.errors = {}, {}, {}
        self.text, self.at = text, 0
        self.expect('interface')
        self.name = self.matching(INTERFACE)
        while (word := self.token()) != '':
            if word not in ('type', 'method', 'error'):
                raise Malformed(f'{word!r} instead of a member')
            name = self.matching(MEMBER)
            if name in self.types or name in self.methods or name in self.errors:
                raise Malformed(f'{name} twice')
            if word == 'method':
                given = self.struct()
                self.expect('->')
                self.methods[name] = (given, self.struct())
            else:
                (self.types if word == 'type' else self.errors)[name] = self.struct()
        for used in self.used:
            if used not in self.types:
                raise Malformed(f'no type {used}')

    used = ()

    def token(self):
        hit = TOKEN.match(self.text, self.at)
        if not hit:
            raise Malformed(f'at {self.text[self.at:self.at + 30]!r}')
        self.at = hit.end()
        return hit.group(1)

    def expect(self, word):
        got = self.token()
        if got != word:
            raise Malformed(f'{got!r} instead of {word!r}')

    def matching(self, pattern):
        word = self.token()
        if not pattern.match(word):
            raise Malformed(f'the name {word!r}')
        return word

    def struct(self):
        self.expect('(')
        fields = {}
        word = self.token()
        while word != ')':
            if not FIELD.match(word) or word in fields:
                raise Malformed(f'the field {word!r}')
            self.expect(':')
            fields[word] = self.type()
            word = self.token()
            if word == ',':
                word = self.token()
                if word == ')':
                    raise Malformed('a comma before )')
            elif word != ')':
                raise Malformed(f'{word!r} in a struct')
        return ('struct', fields)

    def type(self):
        word = self.token()
        if word == '?':
            return ('maybe', self.type())
        if word == '[]':
            return ('array', self.type())
        if word == '[string]':
            return ('map', self.type())
        if word == '(':
            self.at -= 1
            return self.struct()
        if word in BUILTIN or word == 'object':
            return ('builtin', word)
        if not MEMBER.match(word):
            raise Malformed(f'the type {word!r}')
        self.used = (*self.used, word)
        return ('named', word)

    def check(self, kind, value, where):
        """Raises Malformed unless the value is of this type."""
        what, inner = kind
        if what == 'maybe':
            if value is not None:
                self.check(inner, value, where)
        elif what == 'named':
            self.check(self.types[inner], value, where)
        elif what == 'builtin':
            good = isinstance(value, BUILTIN.get(inner, object))
            if not good or (isinstance(value, bool) and inner != 'bool' and inner != 'object'):
                raise Malformed(f'{where}: {value!r} is no {inner}')
        elif what == 'array':
            if not isinstance(value, list):
                raise Malformed(f'{where}: {value!r} is no array')
            for item in value:
                self.check(inner, item, where + '[]')
        elif what == 'map':
            for key, item in value.items():
                self.check(inner, item, f'{where}.{key}')
        else:
            if not isinstance(value, dict):
                raise Malformed(f'{where}: {value!r} is no object')
            for key in value:
                if key not in inner:
                    raise Malformed(f'{where}: a field {key!r} that is not described')
            for key, one in inner.items():
                if key not in value and one[0] != 'maybe':
                    raise Malformed(f'{where}: no field {key!r}')
                self.check(one, value.get(key), f'{where}.{key}')


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.socket.settimeout(LIMIT_S)
        self.rest = b''
        self.interface = None

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def raw(self, data, fds=()):
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.socket.sendmsg([data], extra)

    def message(self):
        """The next message, or None at the end."""
        while b'\0' not in self.rest:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                if self.rest:
                    raise Malformed(f'cut: {self.rest!r}')
                return None
            self.rest += data
        one, self.rest = self.rest.split(b'\0', 1)
        value = json.loads(one)
        unknown = set(value) - {'parameters', 'continues', 'error'}
        if not isinstance(value, dict) or unknown:
            raise Malformed(f'a reply {value!r}')
        return value

    def send(self, method, parameters=None, fds=(), **flags):
        call = {'method': method, **flags}
        if parameters is not None:
            call['parameters'] = parameters
        self.raw(json.dumps(call).encode() + b'\0', fds)

    def describe(self, name='org.wardfs.Control'):
        self.send('org.varlink.service.GetInterfaceDescription', {'interface': name})
        return Interface(self.message()['parameters']['description'])

    def replies(self, method, parameters=None, more=True, fds=()):
        """Yields every reply, checked."""
        if self.interface is None:
            self.interface = self.describe()
        given, taken = self.interface.methods[method]
        self.interface.check(given, parameters or {}, method)
        self.send(f'{self.interface.name}.{method}', parameters, fds, **({'more': True} if more else {}))
        while True:
            reply = self.message()
            if reply is None:
                raise Malformed(f'{method}: no reply')
            parameters = reply.get('parameters', {})
            if 'error' in reply:
                if reply['error'].startswith(self.interface.name + '.'):
                    self.interface.check(self.interface.errors[reply['error'].rsplit('.', 1)[1]], parameters,
                                         reply['error'])
                raise Refused(reply['error'], parameters)
            continues = reply.get('continues', False)
            if continues and not more:
                raise Malformed(f'{method}: more than one reply')
            # What a method streams leaves out what the last reply has.
            self.interface.check(taken, parameters, method)
            yield parameters
            if not continues:
                return

    def call(self, method, parameters=None, fds=()):
        return list(self.replies(method, parameters, more=False, fds=fds))[0]
