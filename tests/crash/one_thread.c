// SPDX-License-Identifier: Apache-2.0
// For a program of one thread that forks while it holds locks: glibc's reader-writer locks note the
// owner's thread id, so the child could never give them back. Linked with -Wl,--wrap=…; whether the
// locks are taken in the right order is for other tests.
#include <pthread.h>

#define NO_LOCK(name)                           \
	int __wrap_##name(pthread_rwlock_t *l); \
	int __wrap_##name(pthread_rwlock_t *l)  \
	{                                       \
		(void)l;                        \
		return 0;                       \
	}

NO_LOCK(pthread_rwlock_rdlock)
NO_LOCK(pthread_rwlock_wrlock)
NO_LOCK(pthread_rwlock_tryrdlock)
NO_LOCK(pthread_rwlock_trywrlock)
NO_LOCK(pthread_rwlock_unlock)
