/* Open an engine, put a block, read it back twice, close.
 *
 *     cc examples/quickstart.c $(pkg-config --cflags --libs kvcache) -o quickstart && ./quickstart
 */
#include <inttypes.h>
#include <stdio.h>

#include <kvcache.h>

int main(void) {
    kvc_config_t config = KVC_CONFIG_INIT;
    config.block_bytes = 64 << 10;
    config.cpu_bytes = 64 << 20;

    kvc_engine_t *engine;
    kvc_error_t error = KVC_ERROR_INIT;
    if (kvc_engine_open(&config, &engine, &error) != KVC_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }

    kvc_key_t key;
    kvc_key_derive(0, NULL, 0, "greeting", 8, &key);
    kvc_put(engine, &key, "hello, cache", 12, NULL);

    /* A copy. */
    char buffer[64];
    uint64_t bytes = 0;
    kvc_status_t status = kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes);
    printf("get      %s, %" PRIu64 " bytes: %.*s\n", kvc_status_name(status), bytes, (int)bytes, buffer);

    /* The block itself, in place. */
    kvc_view_t view;
    status = kvc_acquire(engine, &key, 0, &view);
    printf("acquire  %s, %" PRIu64 " bytes: %.*s\n", kvc_status_name(status), view.bytes, (int)view.bytes,
           (const char *)view.data);
    kvc_release(engine, &view);

    kvc_stats_t stats = KVC_STATS_INIT;
    kvc_stats_get(engine, &stats);
    printf("stats    %" PRIu64 " of %" PRIu64 " blocks, %" PRIu64 " hit by get, %" PRIu64 " acquired\n",
           stats.blocks_resident, stats.slots_count, stats.get_hits, stats.acquires);

    status = kvc_close(engine);
    printf("close    %s\n", kvc_status_name(status));
    return status != KVC_OK;
}
