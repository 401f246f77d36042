// SPDX-License-Identifier: Apache-2.0
// Which of several services that speak of the same device number a client asks: that of a mount
// that was taken away may not have noticed yet.
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/control_client.h"
#include "daemon/mountpoint.h"
#include "tests/unit/unit_files.h"
#include "tests/unit/unit_main.h"

#define SERVICES 3
#define NOBODY 65534
#define WHERE "/proc"

// What a service says about its one mount.
struct service {
	const char *name, *state;
	int64_t mount_id;
	struct mountpoint at;
	struct control_server *server;
};

static int status(void *arg, struct control_call *c)
{
	const struct service *s = arg;
	json_t *mount = json_pack("{ss ss ss}", "mountpoint", WHERE, "device", s->at.device,
				  "state", s->state);

	if (s->mount_id)
		json_object_set_new(mount, "mount_id", json_integer(s->mount_id));
	return control_result(c, json_pack("{s[o]}", "mounts", mount));
}

static int who(void *arg, struct control_call *c)
{
	const struct service *s = arg;

	return control_result(c, json_pack("{ss}", "name", s->name));
}

static const struct control_method methods[] = {{"Status", status, 0}, {"Who", who, 0}};

// Listens at names that come in any order, so that each service is met first once.
static void listen_all(struct service *s, int first, const char *dir)
{
	for (int i = 0; i < SERVICES; i++) {
		const struct control_params p = {
			.methods = methods, .methods_len = 2, .arg = &s[i]};
		char path[128];

		if (!s[i].name)
			continue;
		ck_assert_int_eq(mountpoint_find(WHERE, &s[i].at), 0);
		snprintf(path, sizeof(path), "%s/%d", dir, (i + first) % SERVICES);
		ck_assert_int_eq(control_new(&p, &s[i].server), 0);
		ck_assert_int_eq(control_listen(s[i].server, path), 0);
	}
}

// root's services would be met by everybody on this machine.
static void be_somebody(char work[static UNIT_DIR_BYTES])
{
	unit_make_dir(work);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(work, NOBODY, NOBODY), 0);
		ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
		prctl(PR_SET_DUMPABLE, 1); // for the leak sanitizer
	}
	ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", work, 1), 0);
}

static void remove_all(const char *work, const char *dir)
{
	char path[128];

	for (int i = 0; i < SERVICES; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		unlink(path);
	}
	rmdir(dir);
	rmdir(work);
}

// Who answers for the mount, with the sockets in each order; the name, or "".
static void asked(const struct service *given, const char *want)
{
	for (int first = 0; first < SERVICES; first++) {
		char work[UNIT_DIR_BYTES], dir[UNIT_DIR_BYTES + 8];
		struct service s[SERVICES];
		struct control_client *c = NULL;
		json_t *reply = NULL;
		const char *name = "";

		memcpy(s, given, sizeof(s));
		be_somebody(work);
		snprintf(dir, sizeof(dir), "%s/wardfs", work);
		ck_assert_int_eq(mkdir(dir, 0700), 0);
		listen_all(s, first, dir);
		int err = control_connect(WHERE, &c);
		if (!err && !control_call(c, "Who", NULL, NULL, &reply))
			name = json_string_value(json_object_get(reply, "name"));
		ck_assert_str_eq(name, want);
		json_decref(reply);
		if (!err)
			control_close(c);
		for (int i = 0; i < SERVICES; i++)
			control_free(s[i].server);
		remove_all(work, dir);
	}
}

START_TEST(the_living_one_answers)
{
	const struct service s[SERVICES] = {{.name = "dead", .state = "failed"},
					    {.name = "alive", .state = "open"},
					    {.name = "dead too", .state = "failed"}};

	asked(s, "alive");
}
END_TEST

// Of one that only the mount itself can tell, whatever the states are.
START_TEST(the_mount_tells)
{
	int64_t id = (int64_t)mountpoint_unique_id(WHERE);
	const struct service s[SERVICES] = {
		{.name = "other", .state = "open", .mount_id = id + 1},
		{.name = "right", .state = "failed", .mount_id = id},
		{.name = "silent", .state = "open"},
	};

	if (id == 0)
		puts("skip the_mount_tells # the kernel gives mount ids out again");
	else
		asked(s, "right");
}
END_TEST

START_TEST(a_dead_one_is_better_than_none)
{
	const struct service s[SERVICES] = {{.name = "dead", .state = "failed"}};

	asked(s, "dead");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control-find");
	TCase *t = tcase_create("control-find");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_living_one_answers);
	tcase_add_test(t, the_mount_tells);
	tcase_add_test(t, a_dead_one_is_better_than_none);
	suite_add_tcase(s, t);
	signal(SIGPIPE, SIG_IGN);
	return unit_main(s);
}
