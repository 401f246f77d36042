// SPDX-License-Identifier: Apache-2.0
// A stand-in for systemd-logind on a private bus, as far as wardfs can see it: inhibitors are pipes
// that end when every copy is closed; sleep is announced, waits for the inhibitors but no longer
// than InhibitDelayMaxUSec, and is announced again when it is over. Interfaces and order as in
// org.freedesktop.login1(5).
//
// Standard input, a command a line: session NAME UID CLASS, state NAME STATE, remove NAME,
// lock NAME, hint NAME, delay MS, refuse, watch PID, sleep, wake. Standard output, a line each:
// ready, inhibit WHAT MODE, refused, released gone|alive (the process watched), asleep HELD.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#define NAME "org.freedesktop.login1"
#define PATH "/org/freedesktop/login1"
#define MAX 32

static struct session {
	char name[64], path[128], class[32], state[32];
	uint32_t uid;
	int hint;
} sessions[MAX];
static size_t sessions_len;
static struct pollfd polled[2 + MAX]; // standard input, the bus, inhibitors
static size_t inhibitors;
static uint64_t delay_us = 5000000;
static int refuse, sleeping;
static int64_t sleep_by_ms = -1;
static pid_t watched;
static sd_bus *bus;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct session *find(const char *name)
{
	for (size_t i = 0; i < sessions_len; i++) {
		if (!strcmp(sessions[i].name, name) || !strcmp(sessions[i].path, name))
			return &sessions[i];
	}
	return NULL;
}

// ---- the manager ----

static int inhibit(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const char *what, *who, *why, *mode;
	int ends[2];

	(void)arg;
	int r = sd_bus_message_read(m, "ssss", &what, &who, &why, &mode);
	if (r < 0)
		return r;
	if (refuse) {
		puts("refused");
		return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "Permission denied");
	}
	if (sleeping)
		return sd_bus_error_set(error, NAME ".OperationInProgress", "Going to sleep");
	if (inhibitors == MAX || pipe2(ends, O_CLOEXEC))
		return -EMFILE;
	polled[2 + inhibitors++] = (struct pollfd){.fd = ends[0]};
	r = sd_bus_reply_method_return(m, "h", ends[1]);
	close(ends[1]);
	printf("inhibit %s %s\n", what, mode);
	return r;
}

static int list(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	sd_bus_message *reply = NULL;

	(void)arg;
	(void)error;
	int r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(susso)");
	for (size_t i = 0; r >= 0 && i < sessions_len; i++)
		r = sd_bus_message_append(reply, "(susso)", sessions[i].name, sessions[i].uid,
					  "somebody", "", sessions[i].path);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Inhibit", "ssss", "h", inhibit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ListSessions", "", "a(susso)", list, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("InhibitDelayMaxUSec", "t", NULL, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_SIGNAL("PrepareForSleep", "b", 0),
	SD_BUS_SIGNAL("SessionNew", "so", 0),
	SD_BUS_SIGNAL("SessionRemoved", "so", 0),
	SD_BUS_VTABLE_END,
};

// ---- sessions ----

static int text(sd_bus *b, const char *path, const char *interface, const char *property,
		sd_bus_message *reply, void *arg, sd_bus_error *error)
{
	const struct session *s = arg;

	(void)b;
	(void)path;
	(void)interface;
	(void)error;
	return sd_bus_message_append(reply, "s", !strcmp(property, "Class") ? s->class : s->state);
}

static int look_up(sd_bus *b, const char *path, const char *interface, void *arg, void **ret,
		   sd_bus_error *error)
{
	(void)b;
	(void)interface;
	(void)arg;
	(void)error;
	*ret = find(path);
	return *ret != NULL;
}

static const sd_bus_vtable session[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Class", "s", text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("State", "s", text, 0, 0),
	SD_BUS_PROPERTY("LockedHint", "b", NULL, offsetof(struct session, hint),
			SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_SIGNAL("Lock", "", 0),
	SD_BUS_VTABLE_END,
};

// ---- sleep ----

static void fall_asleep(void)
{
	sleep_by_ms = -1;
	printf("asleep %zu\n", inhibitors);
}

static void begin_sleep(void)
{
	sleeping = 1;
	sd_bus_emit_signal(bus, PATH, NAME ".Manager", "PrepareForSleep", "b", 1);
	sleep_by_ms = now_ms() + (int64_t)(delay_us / 1000);
	if (!inhibitors)
		fall_asleep();
}

static void check_inhibitors(void)
{
	for (size_t i = 0; i < inhibitors;) {
		if (!polled[2 + i].revents) {
			i++;
			continue;
		}
		close(polled[2 + i].fd);
		printf("released %s\n", watched && !kill(watched, 0) ? "alive" : "gone");
		polled[2 + i] = polled[2 + --inhibitors];
	}
	if (sleep_by_ms >= 0 && (!inhibitors || now_ms() >= sleep_by_ms))
		fall_asleep();
}

// ---- commands ----

static void about_session(const char *verb, const char *name, const char *value)
{
	struct session *s = find(name);

	if (!s)
		return;
	if (!strcmp(verb, "state")) {
		snprintf(s->state, sizeof(s->state), "%s", value);
	} else if (!strcmp(verb, "lock")) {
		sd_bus_emit_signal(bus, s->path, NAME ".Session", "Lock", "");
	} else if (!strcmp(verb, "hint")) {
		s->hint = 1;
		sd_bus_emit_properties_changed(bus, s->path, NAME ".Session", "LockedHint", NULL);
	} else if (!strcmp(verb, "remove")) {
		struct session gone = *s;

		*s = sessions[--sessions_len];
		sd_bus_emit_signal(bus, PATH, NAME ".Manager", "SessionRemoved", "so", gone.name,
				   gone.path);
	}
}

static void command(char *line)
{
	char verb[16] = "", name[64] = "", third[32] = "", fourth[32] = "";

	sscanf(line, "%15s %63s %31s %31s", verb, name, third, fourth);
	if (!strcmp(verb, "session") && sessions_len < MAX) {
		struct session *s = &sessions[sessions_len++];

		*s = (struct session){.uid = (uint32_t)strtoul(third, NULL, 10), .state = "active"};
		memcpy(s->name, name, sizeof(s->name));
		memcpy(s->class, fourth, sizeof(s->class));
		snprintf(s->path, sizeof(s->path), PATH "/session/%s", name);
		sd_bus_emit_signal(bus, PATH, NAME ".Manager", "SessionNew", "so", s->name,
				   s->path);
	} else if (!strcmp(verb, "delay")) {
		delay_us = strtoull(name, NULL, 10) * 1000;
	} else if (!strcmp(verb, "refuse")) {
		refuse = 1;
	} else if (!strcmp(verb, "watch")) {
		watched = (pid_t)strtol(name, NULL, 10);
	} else if (!strcmp(verb, "sleep")) {
		begin_sleep();
	} else if (!strcmp(verb, "wake")) {
		sleeping = 0;
		sd_bus_emit_signal(bus, PATH, NAME ".Manager", "PrepareForSleep", "b", 0);
	} else {
		about_session(verb, name, third);
	}
}

static int serve(void)
{
	char line[256];

	while (1) {
		while (sd_bus_process(bus, NULL) > 0)
			;
		sd_bus_flush(bus);
		fflush(stdout);
		polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
		polled[1] = (struct pollfd){.fd = sd_bus_get_fd(bus), .events = POLLIN};
		int64_t left = sleep_by_ms < 0 ? -1 : sleep_by_ms - now_ms();
		if (poll(polled, 2 + inhibitors,
			 sleep_by_ms < 0 ? -1
			 : left < 0      ? 0
					 : (int)left) < 0)
			return 1;
		check_inhibitors();
		if (polled[0].revents && !fgets(line, sizeof(line), stdin))
			return 0;
		if (polled[0].revents)
			command(line);
	}
}

int main(void)
{
	// One line is one read: poll does not know of what stdio keeps.
	setvbuf(stdin, NULL, _IONBF, 0);
	if (sd_bus_open_system(&bus) < 0 ||
	    sd_bus_add_object_vtable(bus, NULL, PATH, NAME ".Manager", manager, &delay_us) < 0 ||
	    sd_bus_add_fallback_vtable(bus, NULL, PATH "/session", NAME ".Session", session,
				       look_up, NULL) < 0 ||
	    sd_bus_request_name(bus, NAME, 0) < 0) {
		fputs("fake_logind: no bus\n", stderr);
		return 1;
	}
	puts("ready");
	return serve();
}
