// SPDX-License-Identifier: Apache-2.0
// Failed attempts at a vault: the wait before the next one, and what its owner wants after too
// many.
#include <stdio.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/broker_private.h"
#include "fusefs/header_backup.h"

int broker_wait_for_turn(const char *dir, struct control_call *c)
{
	int64_t left_ms = attempts_left_ms(dir);

	if (left_ms <= 0)
		return 0;
	struct itimerspec when = {
		.it_value = {.tv_sec = left_ms / 1000, .tv_nsec = left_ms % 1000 * 1000000}};
	int timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
	if (timer < 0 || timerfd_settime(timer, 0, &when, NULL)) {
		if (timer >= 0)
			close(timer);
		return WERR_MFILE;
	}
	int err = control_progress(c, json_pack("{sI}", "delay_ms", (json_int_t)left_ms));
	if (!err)
		err = control_wait(c, timer);
	close(timer);
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
