// SPDX-License-Identifier: Apache-2.0
// What stands around the objects: the header files, the journal, the folders.
#include "fusefs/check_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/hkdf.h"
#include "crypto/secret.h"
#include "fusefs/journalfile.h"
#include "fusefs/plan.h"

static void host_finding(struct check *c, enum check_kind kind, const char *host, uint64_t number)
{
	struct check_finding f = {.kind = kind, .host = host, .number = number};

	check_report(c, &f);
}

// Authentic and older: a power cut came between the two writes, and the next mount makes good for
// it.
static bool is_behind(struct check *c, const char *name)
{
	const size_t maced = VAULT_HEADER_BYTES - 32;
	uint8_t mac[32], *buf = NULL;
	size_t len = 0;

	// Of a vault that is in use: not while it gets another root key.
	pthread_mutex_lock(&c->fs->header_lock);
	bool behind = host_read_top(c->fs->host, name, VAULT_HEADER_BYTES, &buf, &len) == 0 &&
		      len == VAULT_HEADER_BYTES &&
		      hkdf_hmac_sha256(keyring_header_mac(c->fs->v->ring), buf, maced, mac) == 0 &&
		      secret_equal(mac, buf + maced, sizeof mac);

	pthread_mutex_unlock(&c->fs->header_lock);
	free(buf);
	return behind;
}

int check_headers(struct check *c)
{
	static const char *const names[] = {VAULT_FILE, VAULT_FILE_COPY};

	for (unsigned i = 0; c->params->live && i < 2; i++) {
		if (!is_behind(c, names[i])) { // not authentic
			host_finding(c, CHECK_HEADER_COPY, names[i], 0);
		}
	}
	for (unsigned i = 0; !c->params->live && i < 2; i++) {
		if (!(c->fs->v->intact & 1u << i)) {
			host_finding(
				c, is_behind(c, names[i]) ? CHECK_HEADER_BEHIND : CHECK_HEADER_COPY,
				names[i], 0);
		}
	}
	return 0;
}

// How many superblocks open, and the newer one of them.
static int superblocks(struct check *c, struct host_file *f, const struct gcm_key *key,
		       unsigned *ret_good, struct superblock *ret_newest)
{
	const uint8_t *vault_id = keyring_vault_id(c->fs->v->ring);
	uint8_t block[SUPERBLOCK_BYTES];
	struct superblock sb;
	int err = 0;

	*ret_good = 0;
	for (uint32_t i = 0; err == 0 && i < 2; i++) {
		err = host_pread(f, block, sizeof block, i * JOURNALFILE_BLOCK, NULL);
		if (err == 0) {
			err = superblock_open(block, key, vault_id, i, &sb);
			if (err == 0 && (*ret_good == 0 || sb.counter > ret_newest->counter)) {
				*ret_newest = sb;
			}
			*ret_good += err == 0;
		}
		err = err == WERR_NOMEM ? err : 0;
	}
	return err;
}

// Whether the only superblock that opens is the one that counts: then the power went while a mount
// was about to write the other one, and that is no loss.
static bool is_newest(const struct vault_header *h, const struct superblock *sb)
{
	if (sb->mount == h->mount) {
		return sb->root_generation == h->root_generation;
	}
	return sb->mount == 0 || (sb->mount == h->mount + 1 && sb->s == 0);
}

static int count_record(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	(void)sequence;
	(void)payload;
	(void)len;
	return check_step(arg, 0);
}

// The records of the last mount, where its chain can be followed from the newest superblock: what
// stands behind its end is of earlier mounts, whose keys are gone.
static int records(struct bench *b, bool *ret_whole)
{
	struct fs *fs = b->c->fs;
	struct journal *j = NULL;
	uint64_t last = 0;
	int err = journal_open(fs->host, fs->v->ring, fs->v->h->journal_bytes, 1, &j);

	*ret_whole = false;
	if (err == 0) {
		err = journal_replay(j, count_record, b, &last);
		*ret_whole = err == 0 && last == fs->v->h->journal_sequence;
	}
	journal_close(j);
	return err == WERR_NOMEM || err == WERR_INTERRUPTED ? err : 0;
}

// Of a cleanly closed vault: CHECK_NONE, CHECK_JOURNAL, CHECK_JOURNAL_TORN.
static int closed_journal(struct check *c, unsigned good, const struct superblock *newest,
			  enum check_kind *ret)
{
	const struct vault_header *h = c->fs->v->h;
	struct bench b = {.c = c};
	bool whole = good > 0;
	int err = 0;

	if (good == 1) {
		whole = is_newest(h, newest);
	}
	// Where the mount that followed came no further than its superblock, or a change of the
	// passphrase has moved the journal to new keys, there is no record to look at, nor in a
	// vault that was never mounted.
	bool unborn = newest->mount == h->mount + 1 && newest->s == 0;
	if (whole && h->mount && newest->mount && !unborn) {
		err = records(&b, &whole);
	}
	*ret = !whole ? CHECK_JOURNAL : good < 2 ? CHECK_JOURNAL_TORN : CHECK_NONE;
	return err;
}

int check_journal(struct check *c)
{
	struct fs *fs = c->fs;
	struct host_file *f = NULL;
	struct superblock newest = {0};
	enum check_kind kind;
	unsigned good = 0;

	if (c->params->live) {
		return 0; // in use: the engine itself would have said so
	}
	struct gcm_key *key = gcm_key_new(keyring_journal(fs->v->ring));
	int err = key ? journalfile_open(fs->host, fs->v->h->journal_bytes, HOST_RDONLY, &f)
		      : WERR_NOMEM;
	if (err == 0) {
		err = superblocks(c, f, key, &good, &newest);
		fs->host->ops->file_close(f);
	} else if (err != WERR_NOMEM) {
		err = 0;
	}
	gcm_key_free(key);
	bool clean = fs->v->h->state == VAULT_CLEAN;
	if (err == 0 && clean) {
		err = closed_journal(c, good, &newest, &kind);
	} else {
		// One was enough for the replay: the vault would not have opened without it.
		kind = good == 2 ? CHECK_NONE : good ? CHECK_JOURNAL_TORN : CHECK_JOURNAL_LOST;
	}
	if (err == 0 && kind != CHECK_NONE) {
		host_finding(c, kind, JOURNAL_NAME, 0);
		if (c->params->plan && clean && kind == CHECK_JOURNAL) {
			c->params->plan->journal = true;
		}
	}
	return err;
}

static int count_name(void *arg, const char *name, uint64_t number)
{
	struct check *c = arg;

	(void)name;
	c->expected += number != 0;
	return 0;
}

int check_count(struct check *c)
{
	for (unsigned i = 0; i < HOST_FOLDERS; i++) {
		int err = c->fs->host->ops->list_folder(c->fs->host, i, count_name, c);

		if (err == WERR_NOMEM || err == WERR_MFILE) {
			return err;
		}
	}
	return 0;
}

// --- what nothing names ---

struct sweep {
	struct bench *b;
	unsigned folder;
	uint64_t *unnamed;
	size_t len, cap;
	bool tell;
};

static int sweep_name(void *arg, const char *name, uint64_t number)
{
	struct sweep *s = arg;
	struct check *c = s->b->c;

	if (number == 0 && !s->tell) {
		return check_step(s->b, 0);
	}
	if (number == 0) {
		char host[300];

		(void)snprintf(host, sizeof host, "%02x/%.255s", s->folder, name);
		host_finding(c, CHECK_FOREIGN, host, 0);
		return check_step(s->b, 0);
	}
	if (number <= LINKS_NUMBER || numberset_has(&c->named, number)) {
		return 0;
	}
	if (s->len == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 64;
		uint64_t *list = realloc(s->unnamed, cap * sizeof *list);

		if (!list) {
			return WERR_NOMEM;
		}
		s->unnamed = list;
		s->cap = cap;
	}
	s->unnamed[s->len++] = number;
	return 0;
}

// Removed already, and about to go from the host.
static bool is_leaving(struct fs *fs, uint64_t number)
{
	struct node *n = node_find(fs, number);

	if (n) {
		node_put(fs, n);
		return true;
	}
	return unlink_is_listed(fs, number);
}

static int keep_stray(struct check_plan *plan, const struct inspected *in)
{
	if (plan->strays_len == plan->strays_cap) {
		size_t cap = plan->strays_cap ? plan->strays_cap * 2 : 64;
		struct stray *list = realloc(plan->strays, cap * sizeof *list);

		if (!list) {
			return WERR_NOMEM;
		}
		plan->strays = list;
		plan->strays_cap = cap;
	}
	struct stray *s = &plan->strays[plan->strays_len];
	*s = (struct stray){
		.number = in->id.number,
		.incarnation = in->id.incarnation,
		.generation = in->h.generation,
		.parent_number = in->h.parent_number,
		.parent_incarnation = in->h.parent_incarnation,
		.epoch = in->id.epoch,
		.type = (uint8_t)in->id.type,
		.name_len = in->h.name_len,
	};
	s->name = malloc((size_t)in->h.name_len + 1);
	if (!s->name) {
		return WERR_NOMEM;
	}
	memcpy(s->name, in->h.name, in->h.name_len);
	plan->strays_len++;
	return 0;
}

static int unnamed(struct bench *b, uint64_t number)
{
	struct check *c = b->c;
	struct expected want = {.number = number};
	char host[32];

	if (is_leaving(c->fs, number)) {
		return check_step(b, 0);
	}
	int err = inspect_open(c->fs, &want, b->in);
	if (err == CHECK_MISSING) {
		return check_step(b, 0); // gone meanwhile
	}
	(void)snprintf(host, sizeof host, "%02x/%016llx", host_folder(number),
		       (unsigned long long)number);
	if (err == 0 || err == CHECK_NEWER) {
		struct check_finding f = {
			.kind = err ? CHECK_NEWER : CHECK_UNNAMED, .number = number, .host = host};

		check_report(c, &f);
	} else if (err > 0) {
		host_finding(c, CHECK_UNNAMED_JUNK, host, 0);
	}
	if (err == 0) {
		err = c->params->plan ? keep_stray(c->params->plan, b->in) : 0;
		inspect_close(b->in);
	}
	return err < 0 ? err : check_step(b, 1);
}

static bool is_vault_name(const char *name)
{
	static const char hex[] = "0123456789abcdef";
	static const char *const names[] = {VAULT_FILE, VAULT_FILE_COPY, JOURNAL_NAME};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(name, names[i]) == 0) {
			return true;
		}
	}
	return name[0] && name[1] && !name[2] && strchr(hex, name[0]) && strchr(hex, name[1]);
}

static int sweep_top(void *arg, const char *name)
{
	struct bench *b = arg;

	if (!is_vault_name(name)) {
		host_finding(b->c, CHECK_FOREIGN, name, 0);
	}
	return check_step(b, 0);
}

static int sweep_folder(struct bench *b, unsigned folder, bool tell, uint64_t *ret_unnamed)
{
	struct sweep s = {.b = b, .folder = folder, .tell = tell};
	struct host *host = b->c->fs->host;
	int err = host->ops->list_folder(host, folder, sweep_name, &s);

	if (err && err != WERR_NOMEM && err != WERR_MFILE && err != WERR_INTERRUPTED) {
		char name[3];

		(void)snprintf(name, sizeof name, "%02x", folder);
		if (tell) {
			host_finding(b->c, CHECK_FOLDER, name, 0);
		}
		err = 0;
	}
	for (size_t i = 0; err == 0 && i < s.len; i++) {
		if (tell) {
			err = unnamed(b, s.unnamed[i]);
		} else {
			*ret_unnamed += !is_leaving(b->c->fs, s.unnamed[i]);
		}
	}
	free(s.unnamed);
	return err;
}

int check_folders(struct bench *b, bool tell, uint64_t *ret_unnamed)
{
	struct host *host = b->c->fs->host;
	int err = tell ? host->ops->list_top(host, sweep_top, b) : 0;

	*ret_unnamed = 0;
	for (unsigned i = 0; err == 0 && i < HOST_FOLDERS; i++) {
		err = sweep_folder(b, i, tell, ret_unnamed);
	}
	return err;
}
