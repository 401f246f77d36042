// SPDX-License-Identifier: Apache-2.0
// A control server: a Unix socket that speaks Varlink (interface org.wardfs.Control), open to its
// own user and root. wardfs-control(5). Every connection has a thread of its own, on which the
// handlers of its calls run, so a handler may block; handlers of different connections run at the
// same time. No secret passes in JSON: it is read from a descriptor that came with the call.
#ifndef WARDFS_DAEMON_CONTROL_H
#define WARDFS_DAEMON_CONTROL_H

#include <jansson.h>
#include <stddef.h>

#include "crypto/werr.h"

#define CONTROL_INTERFACE "org.wardfs.Control"
#define CONTROL_PROTOCOL 1
#define CONTROL_CLIENTS_MAX 64
#define CONTROL_MESSAGE_MAX_BYTES 65536u // of a call
#define CONTROL_REPLY_MAX_BYTES (16u << 20)

struct control_server;
struct control_call;

#define CONTROL_MORE 1u // may stream replies
#define CONTROL_FD 2u   // may come with a descriptor

// Returns 0 after control_result, or a werr code: the client is sent the error Failed.
typedef int (*control_fn)(void *arg, struct control_call *c);

struct control_method {
	const char *name; // without the interface
	control_fn run;
	unsigned flags;
};

struct control_params {
	const struct control_method *methods;
	size_t methods_len;
	// Calls of methods that are not in the table; NULL: they are refused.
	control_fn other;
	void *arg;
};

// The text of the interface, for GetInterfaceDescription (control_idl.c).
extern const char control_idl[];

int control_new(const struct control_params *p, struct control_server **ret) WARN_UNUSED;
// Makes the socket (mode 0600) and takes connections from there. Replaces what is at the path.
int control_listen(struct control_server *s, const char *path) WARN_UNUSED;
// The same on a socket that listens already; owned by the server from now on.
int control_listen_fd(struct control_server *s, int fd) WARN_UNUSED;
// Serves this connection; taken over, on failure too.
int control_adopt(struct control_server *s, int fd) WARN_UNUSED;
// Tells every watcher. event: taken over.
void control_event(struct control_server *s, json_t *event);
// From now on control_gone is true and no connection is taken: running handlers come to their end.
void control_quiesce(struct control_server *s);
// The socket's name goes away; connections go on. Not from two threads at once.
void control_unlisten(struct control_server *s);
// Waits for the handlers, and ends everything. NULL is fine.
void control_free(struct control_server *s);
// Connections that are served now.
unsigned control_clients(struct control_server *s);

// ---- for handlers ----

// The parameters: an object, borrowed, never NULL.
json_t *control_params(struct control_call *c);
// A string parameter, borrowed; NULL: absent, null, or of another type.
const char *control_string(struct control_call *c, const char *name);
// A parameter that is an absolute path, malloc'd; NULL: absent, or none.
char *control_path(struct control_call *c, const char *name);
// Name of the method without its interface, and whether the client takes several replies.
const char *control_method_name(struct control_call *c);
int control_wants_more(struct control_call *c);
// The descriptor that came with the call, the handler's from now on; -1: none.
int control_fd(struct control_call *c);
// One reply more to come (taken over); dropped when the client did not ask for more.
// WERR_INTERRUPTED: the client is gone.
int control_progress(struct control_call *c, json_t *reply);
// The last reply (taken over; NULL: empty). Returns 0 in any case: a client that is gone gets none.
int control_result(struct control_call *c, json_t *reply);
// The call is wrong: this parameter is absent, or not what it has to be. Returns 0.
int control_invalid(struct control_call *c, const char *parameter);
// Words for the error that is returned next.
void control_detail(struct control_call *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
// The client has hung up, or the server is ending: the handler should return soon.
int control_gone(struct control_call *c);
// Waits until fd is readable (0), or the client has hung up or the server ends (WERR_INTERRUPTED).
int control_wait(struct control_call *c, int fd) WARN_UNUSED;
// The same, but not for longer than ms: WERR_IO.
int control_wait_ms(struct control_call *c, int fd, int ms) WARN_UNUSED;
// The client has hung up.
int control_hung_up(struct control_call *c);
// Sends events from now on as replies, until the client has gone or the server ends. Returns 0.
int control_watch(struct control_call *c);
// The call as it came, with its NUL, for passing it on; and a reply as it came from elsewhere.
int control_forward(struct control_call *c, int fd) WARN_UNUSED;

#endif
