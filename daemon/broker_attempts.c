// SPDX-License-Identifier: Apache-2.0
// Failed attempts at a vault: the wait before the next one, and what its owner wants after too
// many.
#include <stdatomic.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "fusefs/header_backup.h"

// More would keep others from the broker: each has a connection.
#define WAITING_MAX 16

static atomic_uint waiting;

static int wait_ms(struct control_call *c, int64_t ms)
{
	struct itimerspec when = {
		.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};
	int timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);

	if (timer < 0 || timerfd_settime(timer, 0, &when, NULL)) {
		if (timer >= 0)
			close(timer);
		return WERR_MFILE;
	}
	int err = control_progress(c, json_pack("{sI}", "delay_ms", (json_int_t)ms));
	if (!err)
		err = control_wait(c, timer);
	close(timer);
	return err;
}

int broker_wait_for_turn(const char *dir, struct control_call *c)
{
	int64_t left_ms = attempts_left_ms(dir);
	int err = 0;

	if (left_ms <= 0)
		return 0;
	if (atomic_fetch_add(&waiting, 1) >= WAITING_MAX) {
		control_detail(c, "too many attempts wait already; end them, or try again later");
		err = WERR_LIMIT;
	}
	// Of several that wait for the same vault each failure is one more for the others.
	for (; !err && left_ms > 0; left_ms = attempts_left_ms(dir))
		err = wait_ms(c, left_ms);
	atomic_fetch_sub(&waiting, 1);
	return err;
}

// The lock is not asked for: where the vault is mounted without its keys, another process has it,
// which writes nothing.
static void wipe(struct bvault *v, struct control_call *c, unsigned failures)
{
	struct host *host;
	unsigned done = 0;
	char line[160];
	int err = host_posix_open(v->dir, 0, &host);

	if (!err) {
		err = header_erase(host, &done);
		host->ops->close(host);
	}
	if (err)
		snprintf(line, sizeof(line),
			 "%u failed attempts: its keyslots were to be destroyed, but that failed: "
			 "%s",
			 failures, werr_text(err));
	else
		snprintf(line, sizeof(line),
			 "%u failed attempts: its keyslots are destroyed, as its policy says; only "
			 "a header backup can open it again",
			 failures);
	broker_log(v, LOG_CRIT, line);
	control_detail(c, "%s", line);
	if (!err)
		attempts_forget(v->dir);
}

void broker_count_attempt(struct bvault *v, struct control_call *c, int err)
{
	if (err != WERR_SECRET)
		return;
	unsigned failures = attempts_count(v->dir);
	pthread_mutex_lock(&v->broker->lock);
	unsigned limit = v->wipe_after;
	pthread_mutex_unlock(&v->broker->lock);
	if (limit && failures >= limit)
		wipe(v, c, failures);
}
