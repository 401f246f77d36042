// SPDX-License-Identifier: Apache-2.0
// The crash matrix (matrix.h).
//
//   matrix [--seed N] [--long] [--small-blocks] [--rotating keys|contents] [--pairs N] [--jobs N]
//   [--seconds N]
//          [--only OPERATION[+OPERATION]...] [--list]
//
// Short form: every operation alone, and N random pairs (WARDFS_MATRIX_PAIRS, or 100), every cut of
// them. --long: every operation alone, all pairs or N of them, more states of each cut, deeper
// replays. --rotating: a rotation is under way; pairs only in the short form. --seconds: no cell
// begins after that time. The seed is random unless given.
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fusefs/vault.h"
#include "tests/crash/matrix.h"
#include "tests/model/trace.h"

#define OPS_MAX 4 // of one cell
#define JOBS_MAX 64

struct cell {
	const struct matrix_op *ops[OPS_MAX + 2];
	unsigned n;
	char name[160];
};

static struct {
	uint64_t seed;
	int all, small;
	unsigned rotating, pairs, jobs;
	int some;       // --pairs
	time_t seconds; // 0: no end
	struct timespec from;
	struct matrix_effort alone, together;
	struct matrix_count *count;
	struct model *m;
	unsigned running, failed;
	uint64_t asked, cells;
} matrix = {.pairs = 100, .jobs = 2};

static const char *const rotating_names[] = {
	[0] = "", [VAULT_ROTATION_KEYS] = "keys ", [VAULT_ROTATION_CONTENTS] = "contents "};

static const struct matrix_op *find_op(const char *name, size_t len)
{
	for (unsigned i = 0; i < n_matrix_ops; i++) {
		if (strlen(matrix_ops[i].name) == len && memcmp(matrix_ops[i].name, name, len) == 0)
			return &matrix_ops[i];
	}
	fprintf(stderr, "matrix: no operation %.*s\n", (int)len, name);
	exit(2);
}

static double seconds_passed(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - matrix.from.tv_sec) +
	       (double)(now.tv_nsec - matrix.from.tv_nsec) / 1e9;
}

static unsigned rotating_of(const char *word)
{
	for (unsigned i = 1; i < sizeof(rotating_names) / sizeof(rotating_names[0]); i++) {
		if (strncmp(rotating_names[i], word, strlen(word)) == 0)
			return i;
	}
	fprintf(stderr, "matrix: --rotating keys or contents\n");
	exit(2);
}

static void wait_one(void)
{
	int status = 0;

	if (wait(&status) < 0)
		return;
	matrix.running--;
	matrix.failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

// Each cell in a process of its own, from the same staged vault.
static void start(const struct cell *c, uint64_t number, const struct matrix_effort *effort)
{
	char command[256];
	uint64_t seed = matrix.seed + number;

	while (matrix.running >= matrix.jobs)
		wait_one();
	matrix.asked++;
	if (matrix.failed || (matrix.seconds && seconds_passed() >= (double)matrix.seconds))
		return;
	matrix.cells++;
	(void)fflush(NULL);
	pid_t pid = fork();

	TRACE_CHECK(pid >= 0, "fork");
	if (pid > 0) {
		matrix.running++;
		return;
	}
	(void)snprintf(command, sizeof(command), "matrix %s%s%s%s--seed %lu --only %s",
		       matrix.all ? "--long " : "", matrix.small ? "--small-blocks " : "",
		       matrix.rotating ? "--rotating " : "", rotating_names[matrix.rotating], seed,
		       c->name);
	trace_command(command);
	matrix_cell(matrix.m, c->name, c->ops, c->n, seed, effort, matrix.count);
	_exit(0);
}

// A cell of one or two operations; behind them everything is made durable, so that what they left
// in memory is cut on its way to the disk as well.
static void add(const struct matrix_op *a, const struct matrix_op *b, uint64_t number)
{
	struct cell c = {.ops = {a}, .n = 1};

	(void)snprintf(c.name, sizeof(c.name), "%s%s%s", a->name, b ? "+" : "", b ? b->name : "");
	if (b)
		c.ops[c.n++] = b;
	c.ops[c.n++] = find_op("sync", 4);
	c.ops[c.n++] = find_op("checkpoint", 10);
	start(&c, number, b ? &matrix.together : &matrix.alone);
}

static void run_only(const char *list)
{
	struct cell c = {0};

	(void)snprintf(c.name, sizeof(c.name), "%s", list);
	while (*list && c.n < OPS_MAX) {
		size_t len = strcspn(list, "+");

		c.ops[c.n++] = find_op(list, len);
		list += len + (list[len] == '+');
	}
	const struct matrix_effort *effort = c.n > 1 ? &matrix.together : &matrix.alone;

	c.ops[c.n++] = find_op("sync", 4);
	c.ops[c.n++] = find_op("checkpoint", 10);
	start(&c, 0, effort);
}

static void run_pairs(void)
{
	struct prng rng = {.state = matrix.seed};
	uint64_t all = (uint64_t)n_matrix_ops * n_matrix_ops;

	const int every = matrix.all && !matrix.some;

	for (uint64_t i = 0; i < (every ? all : matrix.pairs); i++) {
		uint64_t pair = every ? i : prng_below(&rng, all);

		add(&matrix_ops[pair / n_matrix_ops], &matrix_ops[pair % n_matrix_ops],
		    n_matrix_ops + pair);
	}
}

static void summary(double seconds)
{
	const struct matrix_count *c = matrix.count;

	printf("%lu of %lu cells: %lu power cuts (%lu of them with every state they can leave), "
	       "%lu cuts "
	       "of replays, %lu of replays of replays, %lu a level deeper; %lu states mounted and "
	       "compared: nothing lost; %.0f s\n",
	       matrix.cells, matrix.asked, c->cuts, c->whole, c->replay[0], c->replay[1],
	       c->replay[2], c->states, seconds);
}

static void set_effort(void)
{
	// Of sanitizer builds, which are slow.
	const char *most = getenv("WARDFS_MATRIX_SECONDS");

	if (most && (time_t)strtoul(most, NULL, 10) < matrix.seconds)
		matrix.seconds = (time_t)strtoul(most, NULL, 10);
	const char *stride = getenv("WARDFS_CRASH_STRIDE");
	unsigned every = stride ? (unsigned)strtoul(stride, NULL, 10) : 1;

	every = every ? every : 1;
	matrix.alone = (struct matrix_effort){
		.stride = every, .states = 12, .replay = {40, 20, 20}, .after = 60};
	matrix.together = (struct matrix_effort){
		.stride = every, .states = 3, .replay = {30, 20, 20}, .after = 60};
	if (matrix.all) {
		matrix.alone = (struct matrix_effort){
			.stride = 1, .states = 128, .replay = {40, 30, 20}, .after = 50};
		matrix.together = (struct matrix_effort){
			.stride = 1, .states = 4, .replay = {20, 20, 20}, .after = 50};
	}
	matrix.alone.small = matrix.together.small = matrix.small;
	matrix.alone.rotating = matrix.together.rotating = matrix.rotating;
}

// What this program does most is fork, and each child gets hidden pages of its own, at the price of
// an interruption of every processor a page: half of the time. Without any the secrets are in
// memory that is copied when somebody writes to it.
static void no_hidden_pages(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

	TRACE_CHECK(syscall(SYS_capget, &head, caps) == 0, "capget");
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	TRACE_CHECK(syscall(SYS_capset, &head, caps) == 0, "capset");
	TRACE_CHECK(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0}) == 0, "setrlimit");
}

static void list_ops(void)
{
	for (unsigned k = 0; k < n_matrix_ops; k++)
		printf("%s\n", matrix_ops[k].name);
	exit(0);
}

// The operations of --only, or NULL.
static const char *parse(int argc, char **argv)
{
	const char *only = NULL;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0)
			list_ops();
		if (strcmp(argv[i], "--long") == 0)
			matrix.all = 1;
		else if (strcmp(argv[i], "--small-blocks") == 0)
			matrix.small = 1;
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			matrix.seed = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--pairs") == 0 && i + 1 < argc) {
			matrix.pairs = (unsigned)strtoul(argv[++i], NULL, 10);
			matrix.some = 1;
		} else if (strcmp(argv[i], "--rotating") == 0 && i + 1 < argc)
			matrix.rotating = rotating_of(argv[++i]);
		else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
			matrix.seconds = (time_t)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
			matrix.jobs = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			only = argv[++i];
	}
	matrix.jobs = matrix.jobs && matrix.jobs <= JOBS_MAX ? matrix.jobs : 1;
	return only;
}

int main(int argc, char **argv)
{
	const char *pairs = getenv("WARDFS_MATRIX_PAIRS");

	TRACE_CHECK(getrandom(&matrix.seed, 4, 0) == 4, "no randomness");
	matrix.pairs = pairs ? (unsigned)strtoul(pairs, NULL, 10) : matrix.pairs;
	const char *only = parse(argc, argv);
	printf("seed %lu\n", matrix.seed);
	set_effort();
	no_hidden_pages();
	matrix.count = mmap(NULL, sizeof(*matrix.count), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TRACE_CHECK(matrix.count != MAP_FAILED, "no shared memory");
	(void)clock_gettime(CLOCK_MONOTONIC, &matrix.from);
	struct world *world = world_new(1);

	if (matrix.small)
		world_small_blocks(world);
	matrix.m = model_new(world, 1);
	matrix_stage(matrix.m);
	if (matrix.rotating)
		matrix_rotate(matrix.m, matrix.rotating, 3);
	if (only) {
		run_only(only);
	} else {
		for (unsigned i = 0; i < n_matrix_ops && (matrix.all || !matrix.rotating); i++)
			add(&matrix_ops[i], NULL, i);
		run_pairs();
	}
	while (matrix.running)
		wait_one();
	if (matrix.failed)
		return 1;
	summary(seconds_passed());
	int err = world_close(matrix.m->world);

	TRACE_CHECK(!err, "closing: %d (%s)", err, werr_text(err));
	model_free(matrix.m);
	return 0;
}
