/* Counts every call that obtains memory, by any thread, from the moment the engine is open until after more than a
 * million operations of two threads: there are none. The counting is in malloc_wrap.c.
 *
 * malloc_count [none | malloc | mmap | thread]: with the name of a fault it plants that one, and must then fail. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>

#include "malloc_wrap.h"
#include "mixed.h"

static pthread_barrier_t barrier;

static void *run(void *argument) {
    pthread_barrier_wait(&barrier);
    mixed_run(argument);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void *do_nothing(void *argument) { return argument; }

int main(int arguments_count, char **arguments) {
    const char *plant = arguments_count > 1 ? arguments[1] : "none";
    static mixed_t mixed[2];
    unsigned long long operations_count = 0, evictions_count = 0, completions_count = 0;
    /* Tick mode, then worker mode. */
    for (uint64_t workers_count = 0; workers_count < 2; workers_count++) {
        kvc_config_t config = mixed_config(workers_count);
        kvc_engine_t *engine = open_with(&config);
        pthread_t threads[2];
        CHECK(pthread_barrier_init(&barrier, NULL, 3) == 0);
        for (uint64_t i = 0; i < 2; i++) {
            mixed_prepare(&mixed[i], engine, i + 1, workers_count == 0 ? 550000 : 60000);
            CHECK(pthread_create(&threads[i], NULL, run, &mixed[i]) == 0);
        }
        malloc_calls_arm(1);
        pthread_barrier_wait(&barrier);
        if (strcmp(plant, "malloc") == 0) {
            void *volatile memory = malloc(8);
            free(memory);
        } else if (strcmp(plant, "mmap") == 0) {
            void *memory = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            munmap(memory, 4096);
        } else if (strcmp(plant, "thread") == 0) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
        }
        pthread_barrier_wait(&barrier);
        malloc_calls_arm(0);
        for (int i = 0; i < 2; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
            CHECK(mixed[i].hits_count > 1000 && mixed[i].evictions_seen > 1000 && mixed[i].completions_count > 1000);
            operations_count += mixed[i].operations_count;
            completions_count += mixed[i].completions_count;
        }
        kvc_stats_t stats = KVC_STATS_INIT;
        OK(kvc_stats_get(engine, &stats));
        evictions_count += stats.evictions + stats.evictions_swept;
        OK(kvc_close(engine));
    }
    CHECK(operations_count >= 1000000);
    printf("malloc_count: %lu calls%s%s in %llu operations of two threads (%llu by lanes), %llu evictions\n",
           malloc_calls_count(), malloc_calls_count() ? ", the first to " : "", malloc_calls_first(), operations_count,
           completions_count, evictions_count);
    return malloc_calls_count() != 0;
}
