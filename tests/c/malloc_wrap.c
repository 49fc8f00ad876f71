/* A program's own malloc and mmap. Every library in the process gets them too, because a program's symbols come first
 * (it is linked with -rdynamic). They note that they were called and do what libc would do. */
#define _GNU_SOURCE
#include "malloc_wrap.h"

#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int armed;
static unsigned long calls_count;
static const char *call_first = "";

static void note(const char *name) {
    if (__atomic_load_n(&armed, __ATOMIC_SEQ_CST)) {
        if (__atomic_fetch_add(&calls_count, 1, __ATOMIC_SEQ_CST) == 0)
            call_first = name;
    }
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t bytes) {
    note("malloc");
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes) {
    note("calloc");
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes) {
    note("realloc");
    return __libc_realloc(memory, bytes);
}

void free(void *memory) {
    if (memory != NULL)
        note("free");
    __libc_free(memory);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
    note("posix_memalign");
    *memory = __libc_memalign(alignment, bytes);
    return *memory == NULL;
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    note("aligned_alloc");
    return __libc_memalign(alignment, bytes);
}

void *memalign(size_t alignment, size_t bytes) {
    note("memalign");
    return __libc_memalign(alignment, bytes);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    note("mmap");
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, file, offset);
}

void *mmap64(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    note("mmap64");
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, file, offset);
}

int munmap(void *address, size_t bytes) {
    note("munmap");
    return (int)syscall(SYS_munmap, address, bytes);
}

void *mremap(void *address, size_t bytes_old, size_t bytes_new, int flags, ...) {
    note("mremap");
    va_list rest;
    va_start(rest, flags);
    void *target = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    return (void *)syscall(SYS_mremap, address, bytes_old, bytes_new, flags, target);
}

void malloc_calls_arm(int on) { __atomic_store_n(&armed, on, __ATOMIC_SEQ_CST); }

unsigned long malloc_calls_count(void) { return __atomic_load_n(&calls_count, __ATOMIC_SEQ_CST); }

const char *malloc_calls_first(void) { return call_first; }
