// SPDX-License-Identifier: Apache-2.0
#include "tools/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tools/report.h"

static const char *const stage_names[] = {"vault", "passphrase", "key",  "engine",
					  "mount", "ready",      "close"};

// ---- what the worker says ----

// Asks, and writes to the worker alone.
static void give_passphrase(struct handover *h)
{
	SECRET_STRUCT_AUTO struct secret passphrase = {0};
	size_t done = 0;
	int err = secrets_get_at(h->source, h->dir, &passphrase);

	while (!err && done < passphrase.len) {
		ssize_t n = write(h->passphrase_fd, passphrase.bytes + done, passphrase.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; // the worker has ended, and says why
		done += (size_t)n;
	}
	close(h->passphrase_fd);
	h->passphrase_fd = -1;
	h->failed = err;
	// Not an end of our own: the answer comes when the worker is gone.
	if (err)
		control_let_go(h->client);
}

// ---- the foreground ----

static void *let_go_on_signal(void *arg)
{
	struct control_client *c = arg;
	sigset_t ends;
	int sig;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	// The mount ends, and says how: the call returns.
	if (sigwait(&ends, &sig) == 0)
		control_let_go(c);
	return NULL;
}

// Until here a signal just ends this process, and with it the call and the mount.
static void catch_signals(struct handover *h)
{
	pthread_t thread;
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	if (pthread_create(&thread, NULL, let_go_on_signal, h->client))
		pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
	else
		pthread_detach(thread);
}

static void enter_stage(struct handover *h, const char *name)
{
	for (size_t i = 0; i < sizeof(stage_names) / sizeof(stage_names[0]); i++) {
		if (!strcmp(name, stage_names[i]))
			h->stage = (enum handover_stage)i;
	}
	progress_stop(h->progress);
	h->progress = NULL;
	if (h->stage == HANDOVER_KEY)
		h->progress = progress_start("Deriving the key");
	else if (h->stage == HANDOVER_ENGINE)
		h->progress = progress_start("Opening the vault");
	else if (h->stage == HANDOVER_READY && h->foreground)
		catch_signals(h);
	else if (h->stage == HANDOVER_PASSPHRASE && h->passphrase_fd >= 0)
		give_passphrase(h);
}

static int on_reply(void *arg, json_t *reply)
{
	struct handover *h = arg;
	const char *stage = json_string_value(json_object_get(reply, "stage"));
	const char *warning = json_string_value(json_object_get(reply, "warning"));
	const char *log = json_string_value(json_object_get(reply, "log"));

	const char *note = json_string_value(json_object_get(reply, "note"));

	if (note)
		(void)report_fail(0, h->subject, "%s", note);
	if (warning || log)
		report_warn(h->subject, "%s", warning ? warning : log);
	if (json_object_get(reply, "delay_ms") && !h->progress)
		h->progress = progress_start("Waiting, after wrong attempts before");
	if (stage)
		enter_stage(h, stage);
	return 0;
}

int handover_call(struct handover *h, struct control_client *c, const char *method, json_t *params)
{
	int ends[2];

	if (!params || pipe2(ends, O_CLOEXEC)) {
		json_decref(params);
		return WERR_MFILE;
	}
	h->passphrase_fd = ends[1];
	h->client = c;
	h->failed = 0;
	h->stage = HANDOVER_VAULT;
	const struct control_how how = {.more = 1, .fd = ends[0], .progress = on_reply, .arg = h};
	int err = control_call(c, method, params, &how, NULL);
	close(ends[0]);
	if (h->passphrase_fd >= 0)
		close(h->passphrase_fd);
	progress_stop(h->progress);
	h->progress = NULL;
	return err;
}
