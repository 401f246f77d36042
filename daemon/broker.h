// SPDX-License-Identifier: Apache-2.0
// The broker: supervises the workers of any number of vaults and answers the control socket. It
// opens the FUSE channels and hands them over; it never has a key or a passphrase. wardfsd(8) is
// one; without it every mount has a private one that ends with its vault.
#ifndef WARDFS_DAEMON_BROKER_H
#define WARDFS_DAEMON_BROKER_H

#include "crypto/werr.h"

// Name of the socket of a broker for many vaults, in the runtime directory.
#define BROKER_SOCKET "control"

struct broker_params {
	int client_fd; // a first connection to serve, or -1
	int listen_fd; // a socket that listens already, or -1: one is made
	int one_vault; // end when its vault is gone
	// Called once when calls are answered; may be NULL.
	void (*ready)(void *arg);
	// Called now and then while all is well; may be NULL.
	void (*alive)(void *arg);
	int alive_ms;
	void *arg;
};

// Serves until SIGTERM or SIGINT, or the end of its only vault; then every vault is unmounted and
// closed. The process must have one thread. Returns the exit status.
int broker_run(const struct broker_params *params);

// Starts a private broker. *ret_fd: a connection to it.
int broker_start_private(int *ret_fd) WARN_UNUSED;
// All of its life, in the program that was started. fd: the connection.
int broker_main_private(int fd);

#endif
