// SPDX-License-Identifier: Apache-2.0
// Shared by control.c (connections) and control_call.c (calls) only.
#ifndef WARDFS_DAEMON_CONTROL_PRIVATE_H
#define WARDFS_DAEMON_CONTROL_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/control.h"
#include "daemon/varlink.h"

#define EVENTS_KEPT 128u

struct control_client_slot {
	struct control_server *server;
	pthread_t thread;
	int used;            // lock: has a thread to be joined
	_Atomic int ended;   // the thread is at its end
	int kick;            // eventfd: something has happened that a watcher may wait for
	struct varlink conn; // the thread's
};

struct control_server {
	struct control_params p;
	int listener;       // -1: none
	char *path;         // of the listener, to be removed; NULL: not ours
	int wake;           // eventfd, readable for ever once the end has come
	pthread_t acceptor; // with a listener only
	atomic_bool quiet, ending;

	pthread_mutex_t lock; // guards slots[].used and the events
	struct control_client_slot slots[CONTROL_CLIENTS_MAX];
	char *events[EVENTS_KEPT]; // of number n at n % EVENTS_KEPT
	uint64_t events_next;
};

struct control_call {
	struct control_server *server;
	struct control_client_slot *slot;
	const struct control_method *method; // NULL: not in the table
	json_t *message;
	json_t *params; // borrowed from message or of our own
	const char *name;
	uint64_t event; // the first one after the call came
	int more, oneway, replied;
	char detail[512];
};

// Serves one message. Non-zero: the connection is at its end.
int control_call_serve(struct control_client_slot *slot, json_t *message) WARN_UNUSED;

#endif
