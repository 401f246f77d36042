// SPDX-License-Identifier: Apache-2.0
// Shared by broker*.c only: the vaults, their states, their processes.
#ifndef WARDFS_DAEMON_BROKER_PRIVATE_H
#define WARDFS_DAEMON_BROKER_PRIVATE_H

#include <limits.h>
#include <pthread.h>
#include <time.h>

#include "daemon/broker.h"
#include "daemon/channel.h"
#include "daemon/control.h"
#include "daemon/attempts.h"
#include "daemon/logind.h"
#include "daemon/guard.h"
#include "daemon/mountpoint.h"
#include "daemon/policy.h"
#include "fusefs/mountopts.h"

// From the mount to the unmount. broker_state.c has the table.
enum bstate {
	BSTATE_ABSENT,         // nothing is mounted; the entry is about to go
	BSTATE_LOCKED,         // a worker waits for the passphrase of a new mount
	BSTATE_UNLOCKING,      // it derives the key, or recovers
	BSTATE_OPEN,           // mounted and served
	BSTATE_DRAINING,       // being locked
	BSTATE_LOCKED_MOUNTED, // mounted, served without a key
	BSTATE_FAILED,         // mounted, but its worker has died
	BSTATE_ENDING,         // its place is being left; no event tells of it
	BSTATE_STATES,
};

struct broker;
struct bvault;

enum worker_role { ROLE_KEYED, ROLE_UNLOCK, ROLE_KEYLESS };

struct bworker {
	struct bvault *vault;
	enum worker_role role;
	pid_t pid;
	int fd;     // the channel
	int ready;  // has said READY
	int giving; // was told GIVE
	int locked; // has said LOCKED
	int ended;  // has said ENDED or FAILED
	int reaped; // the process is gone
	int code;   // how
	char detail[256];
};

// Who waits for news of a vault on a control call: a queue of replies.
struct attendant {
	int event; // eventfd
	json_t *replies;
	int done, code;
	char detail[512];
};

// Who waits for another state of a vault on a control call.
struct awaiting {
	struct awaiting *next;
	int event; // eventfd
};

// What is done about the mount of a vault that ends.
enum detach {
	DETACH_NOT,     // it is gone
	DETACH,         // taken away if it is there
	DETACH_OR_STAY, // the vault does not end when it cannot be taken away
};

struct bvault {
	struct bvault *next;
	struct broker *broker;
	char *dir, *mountpoint, *options; // never change
	struct mountopts opts;
	char device[MOUNTPOINT_DEVICE_BYTES];
	int64_t mount_id;   // with the device, as the kernel's list has it
	uint64_t unique_id; // mountpoint_unique_id(), 0: cannot be told
	struct guard guard; // of the directory underneath
	enum bstate state;
	time_t since;
	char reason[96];             // of the state, for people
	struct bworker *keyed;       // NULL: none
	struct bworker *keyless;     // NULL: none
	struct attendant *attendant; // of Mount or Unlock; NULL: none
	int log_names;               // wardfs(1), --log-names
	int no_anchor;               // wardfs(1), --no-anchor
	struct awaiting *awaiting;   // everybody who waits for its state
	struct attendant *holder;    // of a Mount in the foreground: hears the log until the end
	int end_code;                // how the last keyed worker ended
	char end_detail[256];        // ENDING: more about it
	enum detach detach;          // ENDING
	int64_t lost;                // writes lost at the last lock
	int64_t lock_by_ms;          // DRAINING: broker_now_ms() that ends it
	int lock_code;               // how the last lock went
	struct policy policy;        // when to lock by itself
	json_t *given;               // what of it was said when it was mounted
	unsigned wipe_after;         // failed attempts; 0: never
	int64_t active_ms, open_ms;  // broker_now_ms() of the last request, and of the unlock
	int sleep_told;              // its worker was told of the sleep
	int slept;                   // and nothing waits there any more
	int sleep_tries;             // to lock before the sleep
	unsigned users;              // calls that look at it
};

struct broker {
	struct broker_params p;
	struct control_server *server;
	pthread_mutex_t mounting; // libfuse mounts for one at a time
	int kick;                 // eventfd: the main thread should look

	pthread_mutex_t lock; // guards all below and every vault and worker
	pthread_cond_t changed;
	struct bvault *vaults;
	unsigned workers; // supervisors that run
	unsigned endings; // threads that leave the place of a vault
	int stopping;
	int had_vault;
	struct logind *logind; // NULL: nobody has asked for it
	int logind_told;       // that there is trouble with it
	int sleeping;          // the machine is about to sleep, or has slept
	int64_t sleep_by_ms;   // broker_now_ms() when it is not held up any longer
};

// ---- broker_state.c; lock held ----
const char *bvault_state_name(enum bstate state);
// Moves to a state that the table allows, tells watchers. reason: may be NULL. A move that is not
// allowed, or a vault that does not look as its state says, is a bug: logged, and the vault fails.
void bvault_enter(struct bvault *v, enum bstate state, const char *reason);
// The same, of which nobody is told.
void bvault_enter_silently(struct bvault *v, enum bstate state);
// Whether the vault looks as its state says.
int bvault_consistent(const struct bvault *v);
json_t *bvault_describe(const struct bvault *v);

// ---- broker_worker.c ----
// Starts a worker and its supervisor. fd: of the passphrase, -1: none; stays the caller's. lock
// held.
int bworker_start(struct bvault *v, enum worker_role role, int fd,
		  struct bworker **ret) WARN_UNUSED;
// Starts a thread that nobody joins.
int broker_thread(void *(*fn)(void *arg), void *arg) WARN_UNUSED;
// How often a keyed worker of this vault has to report use; -1: never.
int64_t bworker_activity_ms(const struct bvault *v);
// Says something to a worker, with a descriptor (the caller's) unless it is -1; does not wait.
// lock held.
int bworker_tell(struct bworker *w, enum channel_kind kind, int64_t n, const char *text,
		 int fd) WARN_UNUSED;
// Kills it; its supervisor sees the end. lock held.
void bworker_kill(struct bworker *w);

// ---- broker_vault.c ----
void attendant_init(struct attendant *a);
void attendant_clear(struct attendant *a);
// A reply for whoever attends, taken over; dropped when nobody does. lock held.
void bvault_tell(struct bvault *v, json_t *reply);
// The call of whoever attends is at its end. lock held.
void bvault_done(struct bvault *v, int code, const char *detail);
// A message of a worker. Called by its supervisor, lock not held.
void bvault_hear(struct bvault *v, struct bworker *w, const struct channel_msg *m);
// The worker's process is gone and its channel closed. lock held.
void bvault_bury(struct bvault *v, struct bworker *w);
// Asks the worker for a clean end; a mount without one is detached. lock held.
void bvault_stop(struct bvault *v);
// Whoever asked for it has gone: ends a mount, but not one that was only to be unlocked. lock held.
void bvault_cancel(struct bvault *v);
// Kills what serves it; the mount stays, dead, so that nothing is written beneath it. lock held.
void bvault_fail(struct bvault *v, const char *reason);
// Ends an entry whose mount is gone. lock held.
void bvault_notice_unmount(struct bvault *v);
// Whether what is mounted at its place is the mount that was made for it, and not a later one that
// got the same numbers.
int bvault_is_mounted(const struct bvault *v);

// ---- broker.c ----
struct bvault *broker_find(struct broker *b, const char *mountpoint); // lock held
// Ends the entries of mounts that were taken away without a word to us. lock held.
void broker_notice_unmounts(struct broker *b);
// Frees what is absent and unused. lock held.
void broker_sweep(struct broker *b);
void broker_log(const struct bvault *v, int priority, const char *line);

// ---- broker_methods.c, broker_lock.c ----
extern const struct control_method broker_methods[];
extern const size_t broker_methods_len;
int broker_relay(void *arg, struct control_call *c);
// The vault that the parameter "mount" names, or the only one; its users raised. A failure is
// reported to the client when it is not the code.
int broker_take(struct broker *b, struct control_call *c, struct bvault **ret) WARN_UNUSED;
void broker_release(struct bvault *v);
// Serves the attendant until it is done: sends its replies. WERR_INTERRUPTED: the client is gone.
int broker_attend(struct bvault *v, struct attendant *a, struct control_call *c) WARN_UNUSED;
// Waits until its state is, or is not, this one. Lock not held. WERR_INTERRUPTED: the client is
// gone, or the broker ends.
int broker_await(struct bvault *v, enum bstate state, int is, struct control_call *c) WARN_UNUSED;
// ---- broker_lock.c; lock held ----
int64_t broker_now_ms(void); // monotonic
// 0: it is locked, or being locked; WERR_BUSY: not in this state.
int bvault_begin_lock(struct bvault *v, const char *reason, int64_t deadline_ms) WARN_UNUSED;
// Ends a lock that takes too long.
void bvault_check_lock(struct bvault *v);
// Ends every request that the kernel still waits for on the mount with this device.
void bvault_abort(const char *device);

// ---- broker_sleep.c; lock held ----
#define BROKER_ASLEEP "the machine is going to sleep; try again when it is awake"
// Whether its policy lets nobody unlock it now.
int bvault_stays_locked(const struct bvault *v);
// Kills a worker that is about to get the key, which says why.
void bvault_turn_away(struct bworker *w);
// Listens to logind as long as a policy needs it.
void broker_follow_logind(struct broker *b);
// While the machine is about to sleep. Whether it has to be looked at again soon.
int broker_sleep_tick(struct broker *b);
// Names of events that the policy has and this machine does not tell.
json_t *bvault_without_effect(const struct bvault *v);

// ---- broker_attempts.c; lock not held ----
// Until an attempt at the vault is allowed again, telling the client. WERR_INTERRUPTED: it has
// gone.
// WERR_LIMIT: too many wait.
int broker_wait_for_turn(const char *dir, struct control_call *c) WARN_UNUSED;
// An attempt has ended with err: counts failures (a success forgets them), and destroys the
// keyslots when the vault's policy says so.
void broker_count_attempt(struct bvault *v, struct control_call *c, int err);

// ---- broker_policy.c; lock held ----
// Does what the policies ask for now. Returns in how many ms it has to be looked at again, -1:
// when something has changed.
int broker_tick(struct broker *b);
// Until the vault is locked by itself; -1: it will not be.
int64_t bvault_next_lock_ms(const struct bvault *v);
// Does what every vault's policy says about an event.
void broker_trigger(struct broker *b, enum policy_event event);

int broker_lock_method(void *arg, struct control_call *c);
int broker_unlock_method(void *arg, struct control_call *c);

#endif
