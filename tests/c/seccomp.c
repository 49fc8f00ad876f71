/* After open the kernel itself refuses to give memory: whoever asks for an address range, for a file's growth, for a
 * thread or for a file is killed. The engine does all its work under that rule, in tick mode and in worker mode, in
 * memory alone and with file tiers below it.
 *
 * First the rule is tried out: a child that breaks it has to die by SIGSYS, once for each system call. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mixed.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "name this machine's system call table"
#endif

static const int forbidden[] = {
    SYS_mmap,     SYS_brk,       SYS_mremap, SYS_munmap, SYS_mprotect, SYS_madvise,
    SYS_ftruncate, SYS_fallocate, SYS_clone,  SYS_clone3, SYS_openat,
#ifdef SYS_open
    SYS_open,     SYS_fork,      SYS_vfork,
#endif
};

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* Puts the rule on all threads of the process. With file tiers the disk tier may say of its own mapping what is to be
 * read ahead and what is not needed any more, which gives nobody an address range; other advice stays forbidden. */
static int forbid(int files) {
    struct sock_filter filter[8 + COUNT(forbidden) + 2];
    size_t length = 0;
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    if (files) {
        uint8_t to_permission = (uint8_t)COUNT(forbidden);
        filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3);
        filter[length++] =
            (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]));
        filter[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_POPULATE_READ, to_permission + 1, 0);
        filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTNEED, to_permission,
                                                        to_permission + 1);
    }
    for (size_t i = 0; i < COUNT(forbidden); i++) {
        /* Jumps over the rest of the list and the permission, to the killing at the end. */
        uint8_t to_end = (uint8_t)(COUNT(forbidden) - i);
        filter[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)forbidden[i], to_end, 0);
    }
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {(unsigned short)length, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

/* A child that does this one forbidden thing; it must not come back. */
static void must_die(int number, int files) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        if (forbid(files) != 0)
            _exit(2);
        syscall(number, 0, 0, 0, 0, 0, 0);
        _exit(0);
    }
    int state;
    CHECK(waitpid(child, &state, 0) == child);
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGSYS);
}

/* The rule forbids no more than that. */
static void must_live(int files) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (forbid(files) != 0)
            _exit(2);
        if (files && syscall(SYS_madvise, 0, 0, MADV_DONTNEED) != 0)
            _exit(3);
        _exit(getpid() == syscall(SYS_getpid) ? 0 : 1);
    }
    int state;
    CHECK(waitpid(child, &state, 0) == child);
    CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
}

static pthread_barrier_t barrier;

static void *run(void *argument) {
    pthread_barrier_wait(&barrier);
    mixed_run(argument);
    pthread_barrier_wait(&barrier);
    return NULL;
}

/* A thread that ends gives its stack back, which is forbidden: this one stays until the process ends. */
static void *run_and_stay(void *argument) {
    run(argument);
    while (pause() != 0)
        continue;
    return NULL;
}

static mixed_t mixed[2];

static char folder[200], nvme_path[256], disk_path[256];

/* File tiers in which the blocks of the mix are too many, so that segments are given up all the time. */
static void add_files(kvc_config_t *config) {
    config->nvme_path = nvme_path;
    config->nvme_segment_bytes = 64 << 10;
    config->nvme_bytes = (64 << 10) + 6 * config->nvme_segment_bytes;
    config->nvme_depth = 8;
    config->disk_path = disk_path;
    config->disk_segment_bytes = 64 << 10;
    config->disk_bytes = (64 << 10) + 6 * config->disk_segment_bytes;
    config->disk_depth = 8;
}

static void check_files(kvc_engine_t *engine) {
    uint64_t written;
    OK(kvc_flush(engine, UINT64_MAX, &written));
    for (uint32_t number = KVC_TIER_NVME; number <= KVC_TIER_DISK; number++) {
        kvc_tier_t tier = KVC_TIER_INIT;
        OK(kvc_tier_get(engine, number, &tier));
        CHECK(tier.state == KVC_TIER_STATE_ONLINE && tier.bytes_written > 10 * tier.file_bytes);
    }
    kvc_stats_t stats = KVC_STATS_INIT;
    OK(kvc_stats_get(engine, &stats));
    CHECK(stats.nvme_hits > 100 && stats.disk_hits > 100 && stats.checksum_failures == 0);
}

static int work(uint64_t workers_count, int files) {
    kvc_config_t config = mixed_config(workers_count);
    if (files)
        add_files(&config);
    kvc_engine_t *engine = open_with(&config);
    pthread_t thread;
    CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
    for (uint64_t i = 0; i < 2; i++)
        mixed_prepare(&mixed[i], engine, 10 + i, files ? 60000 : 150000);
    CHECK(pthread_create(&thread, NULL, run_and_stay, &mixed[1]) == 0);
    CHECK(forbid(files) == 0);
    run(&mixed[0]);
    for (int i = 0; i < 2; i++)
        CHECK(mixed[i].hits_count > 1000 && mixed[i].evictions_seen > 1000 && mixed[i].completions_count > 1000);
    if (files)
        check_files(engine);
    OK(kvc_shutdown(engine));
    return 0;
}

int main(void) {
    for (int files = 0; files < 2; files++) {
        for (size_t i = 0; i < COUNT(forbidden); i++)
            must_die(forbidden[i], files);
        must_live(files);
    }
    folder_make(folder, sizeof folder, "seccomp");
    snprintf(nvme_path, sizeof nvme_path, "%s/nvme", folder);
    snprintf(disk_path, sizeof disk_path, "%s/disk", folder);
    for (int mode = 0; mode < 4; mode++) {
        /* In a child, because the rule cannot be lifted again. */
        fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            _exit(work((uint64_t)mode & 1, mode >> 1));
        int state;
        CHECK(waitpid(child, &state, 0) == child);
        if (WIFSIGNALED(state))
            fprintf(stderr, "killed by signal %d (%s)\n", WTERMSIG(state), strsignal(WTERMSIG(state)));
        CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
        unlink(nvme_path);
        unlink(disk_path);
    }
    CHECK(rmdir(folder) == 0);
    printf("seccomp: %zu forbidden system calls kill; 840000 operations in tick and worker mode, with file tiers and "
           "without, made none of them\n",
           COUNT(forbidden));
    return 0;
}
