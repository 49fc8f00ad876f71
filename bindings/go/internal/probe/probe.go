// Package probe has what tests and benches need in C: a loop over the library without Go in it, and a forked child.
package probe

/*
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kvcache.h>

// Nanoseconds of count rounds of acquire and release over the keys, or 0 when one fails.
static uint64_t probe_hits(void *engine, const kvc_key_t *keys, uint64_t keys_count, uint64_t count) {
    struct timespec begin, end;
    uint64_t place = 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (uint64_t i = 0; i < count; i++) {
        kvc_view_t view;
        if (kvc_acquire(engine, &keys[place], 0, &view) != KVC_OK || kvc_release(engine, &view) != KVC_OK)
            return 0;
        if (++place == keys_count)
            place = 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000000u + (uint64_t)(end.tv_nsec - begin.tv_nsec);
}

// Nothing, count times: what is left is what crossing into C takes.
static void probe_nothing(void) {}

// The status that kvc_match answers in a forked child, KVC_E_INTERNAL when the child does not tell. The child makes
// this call and ends.
static int32_t probe_fork(void *engine) {
    int ends[2];
    int32_t status = KVC_E_INTERNAL;
    if (pipe(ends) != 0)
        return status;
    pid_t child = fork();
    if (child == 0) {
        uint64_t count;
        kvc_key_t key = {{0}};
        status = kvc_match(engine, &key, 1, 0, &count);
        _exit(write(ends[1], &status, sizeof status) != sizeof status);
    }
    if (child > 0) {
        if (read(ends[0], &status, sizeof status) != sizeof status)
            status = KVC_E_INTERNAL;
        waitpid(child, NULL, 0);
    }
    close(ends[0]);
    close(ends[1]);
    return status;
}
*/
import "C"
import "unsafe"

// Hits are the nanoseconds of count rounds of acquire and release over the keys, in C; 0 when one failed.
func Hits(engine unsafe.Pointer, keys [][32]byte, count int) uint64 {
	return uint64(C.probe_hits(engine, (*C.kvc_key_t)(unsafe.Pointer(&keys[0])), C.uint64_t(len(keys)), C.uint64_t(count)))
}

// Nothing crosses into C and back.
func Nothing() {
	C.probe_nothing()
}

// Fork is the status that a match in a forked child answers.
func Fork(engine unsafe.Pointer) int32 {
	return int32(C.probe_fork(engine))
}
