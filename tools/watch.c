// SPDX-License-Identifier: Apache-2.0
#include "tools/watch.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/control_client.h"
#include "daemon/mountpoint.h"
#include "daemon/varlink.h"
#include "tools/report.h"

// A new service makes no sign of its own; a new mount does, but only when it is there.
#define LOOK_MS 500

// One service that is followed, by a thread of its own.
struct followed {
	struct followed *next;
	struct watch *watch;
	struct control_client *client;
	json_t *mounts; // the last state of each, by its mount point
	char path[PATH_MAX];
};

struct watch {
	int json;
	pthread_mutex_t lock; // guards what follows, and the output
	struct followed *all;
	int failed; // the output
};

// ---- lines ----

static void print_text(const char *event, const json_t *mount)
{
	json_t *path = json_object_get(mount, "mountpoint");
	const char *reason = json_string_value(json_object_get(mount, "reason"));
	const char *state = json_string_value(json_object_get(mount, "state"));
	char *bytes = varlink_path_of(path);
	char shown[4 * PATH_MAX], when[32] = "", why[400] = "";
	time_t now = time(NULL);
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	report_escape(bytes ? bytes : "?", shown, sizeof(shown));
	free(bytes);
	if (!strcmp(event, "present"))
		event = state ? state : "?";
	// What a freeze is about is no reason of the state.
	if (reason && *reason && state && !strcmp(event, state))
		report_escape(reason, why, sizeof(why));
	printf("%s  %s: %s%s%s%s\n", when, shown, event, why[0] ? " (" : "", why,
	       why[0] ? ")" : "");
}

static void print_json(const char *event, json_t *mount)
{
	json_t *line = json_pack("{sI ss sO}", "time_s", (json_int_t)time(NULL), "event", event,
				 "mount", mount);

	if (line && !json_dumpf(line, stdout, JSON_COMPACT))
		putchar('\n');
	json_decref(line);
}

// With the lock: lines stay whole.
static void print_event(struct watch *w, const char *event, json_t *mount)
{
	if (w->json)
		print_json(event, mount);
	else
		print_text(event, mount);
	if (fflush(stdout) || ferror(stdout))
		w->failed = 1;
}

// ---- one service ----

static int on_reply(void *arg, json_t *reply)
{
	struct followed *f = arg;
	const char *event = json_string_value(json_object_get(reply, "event"));
	json_t *mount = json_object_get(reply, "mount");
	json_t *path = json_object_get(mount, "mountpoint");

	if (!json_is_string(path))
		return 0;
	pthread_mutex_lock(&f->watch->lock);
	if (event && !strcmp(event, "absent"))
		json_object_del(f->mounts, json_string_value(path));
	else
		json_object_set(f->mounts, json_string_value(path), mount);
	print_event(f->watch, event ? event : "present", mount);
	pthread_mutex_unlock(&f->watch->lock);
	return 0;
}

// The service is gone without a word about these.
static void tell_lost(struct followed *f)
{
	const char *key;
	json_t *mount;

	json_object_foreach(f->mounts, key, mount)
	{
		char *path = varlink_path_of(json_object_get(mount, "mountpoint"));
		struct mountpoint m;
		int is_there =
			path && !mountpoint_find(path, &m) && !strcmp(m.fstype, MOUNTPOINT_FSTYPE);

		json_object_del(mount, "reason");
		print_event(f->watch, is_there ? "lost" : "absent", mount);
		free(path);
	}
}

static void *follow(void *arg)
{
	struct followed *f = arg;
	struct watch *w = f->watch;
	const struct control_how how = {.more = 1, .fd = -1, .progress = on_reply, .arg = f};

	// Whatever ends it, it has ended.
	(void)!control_call(f->client, "Watch", NULL, &how, NULL);
	control_close(f->client);
	pthread_mutex_lock(&w->lock);
	tell_lost(f);
	for (struct followed **at = &w->all; *at; at = &(*at)->next) {
		if (*at == f) {
			*at = f->next;
			break;
		}
	}
	pthread_mutex_unlock(&w->lock);
	json_decref(f->mounts);
	free(f);
	return NULL;
}

static int is_followed(struct watch *w, const char *path)
{
	int found = 0;

	pthread_mutex_lock(&w->lock);
	for (const struct followed *f = w->all; f && !found; f = f->next)
		found = !strcmp(f->path, path);
	pthread_mutex_unlock(&w->lock);
	return found;
}

static int start_following(void *arg, const char *path, uid_t uid)
{
	struct watch *w = arg;
	pthread_t thread;

	if (strlen(path) >= PATH_MAX || is_followed(w, path))
		return 0;
	struct followed *f = calloc(1, sizeof(*f));
	json_t *mounts = json_object();
	if (!f || !mounts || control_connect_path(path, uid, &f->client)) {
		json_decref(mounts);
		free(f);
		return 0;
	}
	f->watch = w;
	f->mounts = mounts;
	memcpy(f->path, path, strlen(path) + 1);
	pthread_mutex_lock(&w->lock);
	f->next = w->all;
	w->all = f;
	if (pthread_create(&thread, NULL, follow, f)) {
		w->all = f->next;
		control_close(f->client);
		json_decref(mounts);
		free(f);
	} else {
		pthread_detach(thread);
	}
	pthread_mutex_unlock(&w->lock);
	return 0;
}

// ---- all of it ----

static int has_failed(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	int failed = w->failed;
	pthread_mutex_unlock(&w->lock);
	return failed;
}

int watch_mounts(int json)
{
	static struct watch w = {.lock = PTHREAD_MUTEX_INITIALIZER};
	sigset_t ends;

	w.json = json;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	int signals = signalfd(-1, &ends, SFD_CLOEXEC);
	int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (signals < 0)
		return report_fail(WERR_MFILE, NULL, "%s", werr_text(WERR_MFILE));
	// Of the output only the end of whoever reads it is looked for.
	struct pollfd polled[3] = {{.fd = signals, .events = POLLIN},
				   {.fd = STDOUT_FILENO},
				   {.fd = mounts, .events = POLLPRI}};
	while (!has_failed(&w)) {
		(void)control_each_path(start_following, &w);
		if (poll(polled, 3, LOOK_MS) <= 0)
			continue;
		if (polled[0].revents)
			return 0;
		if (polled[1].revents & (POLLERR | POLLHUP))
			return 0;
	}
	return report_fail(WERR_IO, "standard output", "cannot be written");
}
