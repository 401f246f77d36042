// SPDX-License-Identifier: Apache-2.0
// Calling control methods: finds who serves a mount point, speaks wardfs-control(5). One thread per
// connection.
#ifndef WARDFS_DAEMON_CONTROL_CLIENT_H
#define WARDFS_DAEMON_CONTROL_CLIENT_H

#include <jansson.h>

#include "daemon/control.h"
#include "daemon/rundir.h"

struct control_client;

// How a call is made.
struct control_how {
	int more; // take several replies
	int fd;   // goes along with the call; -1: none. Stays the caller's.
	// Every reply that has more to follow (borrowed); non-zero ends the connection and is
	// returned by control_call. NULL: they are dropped.
	int (*progress)(void *arg, json_t *reply);
	// Nothing was heard for timeout_ms: 0 goes on waiting, anything else ends the connection
	// and is returned by control_call. NULL: WERR_IO.
	int (*silence)(void *arg);
	void *arg;
	int timeout_ms; // for each reply; 0: no limit
};

// Whoever serves this mount point (absolute, resolved), of this user or, for root, of any.
// WERR_NOTFOUND: nobody does. WERR_UNSUPPORTED: of another version.
int control_connect(const char *mountpoint, struct control_client **ret) WARN_UNUSED;
// The service at a socket that runs as uid. WERR_NOTFOUND: nobody listens; WERR_PERM.
int control_connect_path(const char *path, uid_t uid, struct control_client **ret) WARN_UNUSED;
// On a connection that is there already (taken over, on failure too).
int control_connect_fd(int fd, struct control_client **ret) WARN_UNUSED;
void control_close(struct control_client *c);

// Calls a method of CONTROL_INTERFACE. params: taken over, may be NULL; "mount" is added when the
// connection was made for a mount point. *ret (may be NULL): the parameters of the last reply, the
// caller's. Returns the code of the other side, or WERR_IO when it went away, WERR_MALFORMED when
// it does not speak the protocol.
int control_call(struct control_client *c, const char *method, json_t *params,
		 const struct control_how *how, json_t **ret) WARN_UNUSED;
// What the other side said about the last failure; "" when nothing.
const char *control_detail_of(const struct control_client *c);

// The state of every mount that this user may see (root: of every user): Mount objects of the
// interface description, in an array.
int control_status(json_t **ret) WARN_UNUSED;

// The same for the mount that the connection was made for: one Mount object. WERR_NOTFOUND.
int control_state(struct control_client *c, json_t **ret) WARN_UNUSED;

// Tells the other side that nothing more comes from here; replies still do. Any thread.
void control_let_go(struct control_client *c);

// Calls fn for every service that this user may ask, until it returns something else than 0 or
// CONTROL_KEEP, which is returned; fn owns c then, and after CONTROL_KEEP, else it is closed.
#define CONTROL_KEEP (-1)
typedef int (*control_each_fn)(void *arg, struct control_client *c);
int control_each(control_each_fn fn, void *arg);
// The same with the path of what may be the socket of such a service, not connected to.
int control_each_path(rundir_fn fn, void *arg);

#endif
