/* Checks that name the place and end the program, and blocks whose bytes follow from their number. */
#ifndef KVC_TESTS_CHECK_H
#define KVC_TESTS_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvcache.h"

static unsigned long checks_count;

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        __atomic_fetch_add(&checks_count, 1, __ATOMIC_RELAXED);                                                       \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "%s:%d: %s: wrong: %s\n", __FILE__, __LINE__, __func__, #condition);                      \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

/* The call answers this status. */
#define EXPECT(status_expected, call)                                                                                 \
    do {                                                                                                              \
        kvc_status_t status_ = (call);                                                                                \
        __atomic_fetch_add(&checks_count, 1, __ATOMIC_RELAXED);                                                       \
        if (status_ != (status_expected)) {                                                                           \
            fprintf(stderr, "%s:%d: %s: %s answers %s, not %s\n", __FILE__, __LINE__, __func__, #call,                \
                    kvc_status_name(status_), #status_expected);                                                      \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

#define OK(call) EXPECT(KVC_OK, call)

#define COUNT(array) (sizeof(array) / sizeof *(array))

static inline kvc_key_t key_of(uint64_t number) {
    kvc_key_t key;
    OK(kvc_key_derive(1, "suite", 5, &number, sizeof number, &key));
    return key;
}

static inline uint8_t byte_of(uint64_t number, uint64_t place) {
    uint64_t word = (number + 1) * 0x9e3779b97f4a7c15u + place * 0xc2b2ae3d27d4eb4fu;
    return (uint8_t)(word >> 56);
}

static inline void block_fill(uint64_t number, void *data, uint64_t bytes) {
    uint8_t *target = (uint8_t *)data;
    for (uint64_t place = 0; place < bytes; place++)
        target[place] = byte_of(number, place);
}

static inline int block_is(uint64_t number, const void *data, uint64_t bytes) {
    const uint8_t *source = (const uint8_t *)data;
    for (uint64_t place = 0; place < bytes; place++)
        if (source[place] != byte_of(number, place))
            return 0;
    return 1;
}

static inline kvc_engine_t *open_with(const kvc_config_t *config) {
    kvc_engine_t *engine = NULL;
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_status_t status = kvc_engine_open(config, &engine, &error);
    if (status != KVC_OK) {
        fprintf(stderr, "open answers %s: %s\n", kvc_status_name(status), error.message);
        exit(1);
    }
    return engine;
}

/* One part of a program of checks. */
typedef struct part_t {
    const char *name;
    void (*run)(void);
} part_t;

/* Runs the parts whose names have the program's argument in them, all if there is none; says how many. */
static inline size_t parts_run(const part_t *parts, size_t parts_count, int arguments_count, char **arguments) {
    const char *chosen = arguments_count > 1 ? arguments[1] : "";
    size_t count = 0;
    for (size_t i = 0; i < parts_count; i++) {
        if (strstr(parts[i].name, chosen) == NULL)
            continue;
        if (getenv("KVC_SUITE_NAMES") != NULL)
            fprintf(stderr, "%s\n", parts[i].name);
        parts[i].run();
        count++;
    }
    return count;
}

/* A new folder for the files of one program, in TMPDIR or /tmp. The six X are what mkdtemp asks for. */
static inline void folder_make(char *folder, size_t folder_bytes, const char *program) {
    const char *where = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    snprintf(folder, folder_bytes, "%.160s/kvcache-%s-XXXXXX", where, program);
    CHECK(mkdtemp(folder) != NULL);
}

#endif
