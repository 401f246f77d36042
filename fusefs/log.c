// SPDX-License-Identifier: Apache-2.0
#include "fusefs/engine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "fusefs/findings.h"

#define LINE_BYTES 1024u

void fs_log(struct fs *fs, int priority, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;

	if (!fs->params.log) {
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	fs->params.log(fs->params.log_arg, priority, line);
}

#define PATH_BYTES 512u
#define DEPTH_MAX 64u

// Puts a component in front of the path that ends at *at. 0 when there is no room.
static int prepend(char *path, size_t *at, const uint8_t *name, size_t len)
{
	const size_t slash = path[*at] != 0;

	if (*at < len + slash)
		return 0;
	if (slash)
		path[--*at] = '/';
	*at -= len;
	memcpy(path + *at, name, len);
	return 1;
}

// The directory that a node stands in, and its entry there, without waiting for any lock: whoever
// refuses something may hold some. NULL: not now.
static struct node *entry_of(struct fs *fs, const struct node *n, struct entry *ret)
{
	if (pthread_mutex_trylock(&fs->dirty_lock))
		return NULL;
	struct node *home = n->home;
	const table_place place = n->place;
	pthread_mutex_unlock(&fs->dirty_lock);
	if (!home || pthread_rwlock_tryrdlock(&home->lock))
		return NULL;
	int err = home->obj && home->obj->table ? table_get(home->obj->table, place, ret)
						: WERR_NOTFOUND;
	// The entry's bytes stay as long as nobody changes the table.
	if (err)
		pthread_rwlock_unlock(&home->lock);
	return err ? NULL : home;
}

// The path of an object, as far as it is at hand; "" else.
static const char *path_of(struct fs *fs, uint64_t number, char path[static PATH_BYTES])
{
	size_t at = PATH_BYTES - 1;

	path[at] = 0;
	if (!fs->params.log_names || pthread_mutex_trylock(&fs->nodes_lock))
		return path + at;
	const struct node *n = node_find_locked(fs, number);
	for (unsigned depth = 0; n && n != fs->root && n != fs->links && depth < DEPTH_MAX;
	     depth++) {
		struct entry e;
		struct node *home = entry_of(fs, n, &e);

		if (!home)
			break;
		int more = prepend(path, &at, e.name, e.name_len);
		pthread_rwlock_unlock(&home->lock);
		n = more ? home : NULL;
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	return path + at;
}

// What an application sees of it: an input/output error, whatever was wrong. A suite or a size of a
// later program is none of its business.
static int seen_as(int err)
{
	return err == WERR_UNSUPPORTED || err == WERR_LIMIT ? WERR_DAMAGED : err;
}

static int refuse(struct fs *fs, uint64_t number, int err, const char *what, const char *more)
{
	char line[LINE_BYTES], path[PATH_BYTES];

	if (fs->quiet || err == WERR_NOMEM) // no memory says nothing about the object
		return seen_as(err);
	atomic_fetch_add(&fs->refusals, 1);
	const struct finding found = {.number = number,
				      .code = err,
				      .what = what,
				      .more = more,
				      .name = path_of(fs, number, path)};
	if (findings_note(fs->findings, &found, line, sizeof(line)))
		fs_log(fs, LOG_ERR, "%s", line);
	return seen_as(err);
}

int fs_refuse(struct fs *fs, uint64_t number, int err, const char *what)
{
	return refuse(fs, number, err, what, "");
}

// Generations and epochs as people compare them: mount and checkpoint.
int fs_refuse_older(struct fs *fs, uint64_t number, const char *what, uint64_t found,
		    uint64_t wanted)
{
	const uint64_t low = (1ull << 40) - 1;
	char more[96];

	(void)snprintf(more, sizeof(more),
		       ": generation %" PRIu64 "\u00b7%" PRIu64 " %s %" PRIu64 "\u00b7%" PRIu64,
		       found >> 40, found & low, found < wanted ? "<" : ">", wanted >> 40,
		       wanted & low);
	return refuse(fs, number, WERR_ROLLBACK, what, more);
}

const char *fs_host_text(int err)
{
	switch (err) {
	case WERR_READONLY:
		return "the host's filesystem is read-only";
	case WERR_IO:
		return "the host says input/output error";
	default:
		return werr_text(err);
	}
}

void fs_set_read_only(struct fs *fs, const char *what, int err)
{
	bool was = atomic_exchange(&fs->read_only, true);

	if (!was) {
		(void)snprintf(fs->read_only_reason, sizeof fs->read_only_reason, "%s: %s", what,
			       fs_host_text(err));
		fs_log(fs, LOG_CRIT, "vault is read-only from now on: %s", fs->read_only_reason);
	}
}
