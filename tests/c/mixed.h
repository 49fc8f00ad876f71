/* A mix of all operations on one engine, for runs in which something is forbidden: nothing here allocates, prints or
 * opens anything. Counts operations of the library. */
#ifndef KVC_TESTS_MIXED_H
#define KVC_TESTS_MIXED_H

#include "check.h"

enum { MIXED_BLOCK_BYTES = 512, MIXED_SLOTS_COUNT = 256, MIXED_KEYS_COUNT = 1024, MIXED_BATCH = 8 };

typedef struct {
    kvc_engine_t *engine;
    uint64_t seed;
    uint64_t operations_wanted;
    /* Out. */
    uint64_t operations_count;
    uint64_t hits_count;
    uint64_t evictions_seen;
    uint64_t completions_count;
    /* Room for what is asked for. */
    kvc_key_t keys[MIXED_KEYS_COUNT];
    uint8_t buffers[MIXED_BATCH][MIXED_BLOCK_BYTES];
    kvc_item_t items[MIXED_BATCH];
    kvc_view_t views[MIXED_BATCH];
    kvc_done_t done[4 * MIXED_BATCH];
    kvc_event_t events[64];
    kvc_pin_info_t pins[16];
    char text[64 << 10];
} mixed_t;

static inline kvc_config_t mixed_config(uint64_t workers_count) {
    kvc_config_t config = KVC_CONFIG_INIT;
    config.block_bytes = MIXED_BLOCK_BYTES;
    config.cpu_bytes = (uint64_t)MIXED_BLOCK_BYTES * MIXED_SLOTS_COUNT;
    config.pins_count = 128;
    config.stripes_count = 4;
    config.lanes_count = 4;
    config.lane_depth = 32;
    config.events_count = 128;
    config.workers_count = workers_count;
    config.latency_sample_count = 4;
    config.pin_expiry_ms = 60000;
    config.reservation_expiry_ms = 60000;
    return config;
}

static inline uint64_t mixed_random(mixed_t *mixed) {
    mixed->seed ^= mixed->seed << 13;
    mixed->seed ^= mixed->seed >> 7;
    mixed->seed ^= mixed->seed << 17;
    return mixed->seed;
}

/* Derives the keys; belongs before the run so that hashing is not most of it. */
static inline void mixed_prepare(mixed_t *mixed, kvc_engine_t *engine, uint64_t seed, uint64_t operations_wanted) {
    memset(mixed, 0, sizeof *mixed);
    mixed->engine = engine;
    mixed->seed = seed * 0x9e3779b97f4a7c15u + 1;
    mixed->operations_wanted = operations_wanted;
    for (uint64_t number = 0; number < MIXED_KEYS_COUNT; number++)
        mixed->keys[number] = key_of(number);
}

static inline int mixed_answer(kvc_status_t status) {
    return status == KVC_OK || status == KVC_MISS || status == KVC_PENDING || status == KVC_EXISTS ||
           status == KVC_AGAIN;
}

static inline void mixed_lane(mixed_t *mixed, uint64_t first) {
    const kvc_engine_t *engine = mixed->engine;
    kvc_lane_t lane;
    kvc_ticket_t tickets[4];
    kvc_op_t ops[4];
    uint64_t count, reaped = 0, wanted = 4;
    memset(ops, 0, sizeof ops);
    const uint32_t opcodes[4] = {KVC_OP_PUT, KVC_OP_GET, KVC_OP_MATCH, KVC_OP_TOUCH};
    for (int i = 0; i < 4; i++) {
        ops[i].opcode = opcodes[i];
        ops[i].keys = &mixed->keys[first];
        ops[i].keys_count = 1;
        ops[i].user_data = (uint64_t)i;
        ops[i].data = i < 2 ? mixed->buffers[i] : NULL;
        ops[i].bytes = i < 2 ? MIXED_BLOCK_BYTES : 0;
    }
    block_fill(first, mixed->buffers[0], MIXED_BLOCK_BYTES);
    if (kvc_lane_open(engine, &lane) != KVC_OK)
        return;
    OK(kvc_submit(engine, lane, ops, 4, tickets, &count));
    CHECK(count == 4);
    kvc_status_t status = kvc_cancel(engine, lane, tickets[3]);
    CHECK(status == KVC_OK || status == KVC_PENDING);
    OK(kvc_wait(engine, lane, tickets[1], UINT64_MAX, &mixed->done[0]));
    CHECK(mixed->done[0].status == KVC_OK || mixed->done[0].status == KVC_MISS);
    if (mixed->done[0].status == KVC_OK)
        CHECK(block_is(first, mixed->buffers[1], mixed->done[0].result));
    for (wanted--; reaped < wanted; reaped += count)
        OK(kvc_reap(engine, lane, mixed->done, COUNT(mixed->done), &count));
    OK(kvc_lane_close(engine, lane));
    mixed->operations_count += 9;
    mixed->completions_count += 4;
}

static inline void mixed_run(mixed_t *mixed) {
    const kvc_engine_t *engine = mixed->engine;
    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    kvc_stats_t stats = KVC_STATS_INIT;
    kvc_histogram_t histogram = KVC_HISTOGRAM_INIT;
    kvc_capacity_t capacity = KVC_CAPACITY_INIT;
    uint64_t sequence = 0, count, lost, bytes;
    while (mixed->operations_count < mixed->operations_wanted) {
        uint64_t random = mixed_random(mixed);
        /* Skewed, so that there are hits as well as evictions. */
        uint64_t number = (random >> 8) % MIXED_KEYS_COUNT;
        if (random & 1)
            number %= MIXED_KEYS_COUNT / 8;
        kvc_key_t *key = &mixed->keys[number];
        uint64_t batch = MIXED_KEYS_COUNT - number < MIXED_BATCH ? MIXED_KEYS_COUNT - number : MIXED_BATCH;
        kvc_status_t status;
        mixed->operations_count++;
        switch ((random >> 40) % 16) {
        case 0:
        case 1:
        case 2:
            block_fill(number, mixed->buffers[0], MIXED_BLOCK_BYTES);
            info.priority = number % 3;
            info.namespace_id = number % 8;
            info.flags = number % 97 == 0 ? KVC_PUT_PROTECTED : 0;
            info.expiry_ms = number % 5 == 0 ? 1 : 0;
            info.parent = number > 0 ? key - 1 : NULL;
            status = kvc_put(engine, key, mixed->buffers[0], MIXED_BLOCK_BYTES, &info);
            CHECK(mixed_answer(status) && status != KVC_MISS);
            break;
        case 3:
        case 4:
        case 5:
            status = kvc_get(engine, key, mixed->buffers[0], MIXED_BLOCK_BYTES, (uint32_t)(random >> 50) % 3, &bytes);
            CHECK(mixed_answer(status));
            if (status == KVC_OK) {
                CHECK(bytes == MIXED_BLOCK_BYTES && block_is(number, mixed->buffers[0], bytes));
                mixed->hits_count++;
            }
            break;
        case 6:
        case 7:
            status = kvc_acquire(engine, key, 0, &mixed->views[0]);
            CHECK(mixed_answer(status));
            if (status == KVC_OK) {
                CHECK(block_is(number, mixed->views[0].data, mixed->views[0].bytes));
                OK(kvc_release(engine, &mixed->views[0]));
                EXPECT(KVC_E_STALE, kvc_release(engine, &mixed->views[0]));
                mixed->operations_count += 2;
                mixed->hits_count++;
            }
            break;
        case 8: {
            kvc_reservation_t reservation;
            status = kvc_reserve(engine, key, MIXED_BLOCK_BYTES, NULL, &reservation);
            CHECK(mixed_answer(status) && status != KVC_MISS);
            if (status == KVC_OK) {
                block_fill(number, reservation.data, MIXED_BLOCK_BYTES);
                OK(random >> 63 ? kvc_commit(engine, &reservation, 0) : kvc_abort(engine, &reservation));
                mixed->operations_count++;
            }
            break;
        }
        case 9:
            OK(kvc_match(engine, key, batch, KVC_MATCH_TOUCH, &count));
            CHECK(count <= batch);
            OK(kvc_acquire_many(engine, key, batch, 0, mixed->views, &count));
            for (uint64_t i = 0; i < count; i++)
                CHECK(block_is(number + i, mixed->views[i].data, mixed->views[i].bytes));
            OK(kvc_release_many(engine, mixed->views, count, &bytes));
            CHECK(bytes == count);
            mixed->operations_count += 2;
            break;
        case 10:
            for (uint64_t i = 0; i < batch; i++) {
                memset(&mixed->items[i], 0, sizeof mixed->items[i]);
                mixed->items[i].key = key[i];
                mixed->items[i].data = mixed->buffers[i];
                mixed->items[i].bytes = MIXED_BLOCK_BYTES;
                block_fill(number + i, mixed->buffers[i], MIXED_BLOCK_BYTES);
            }
            OK(kvc_put_many(engine, mixed->items, batch, NULL, &count));
            OK(kvc_get_many(engine, mixed->items, batch, 0, &count));
            for (uint64_t i = 0; i < batch; i++)
                CHECK(mixed_answer(mixed->items[i].status) &&
                      (mixed->items[i].status != KVC_OK ||
                       block_is(number + i, mixed->buffers[i], mixed->items[i].bytes_out)));
            mixed->operations_count++;
            break;
        case 11:
            OK(kvc_touch(engine, key, batch, &count));
            OK(kvc_retain(engine, key, 1, (uint32_t)(random >> 50) % 101, 1, 0, &count));
            OK(kvc_match_each(engine, key, batch, 0, mixed->buffers[0], &count));
            mixed->operations_count += 2;
            break;
        case 12:
            OK(kvc_remove(engine, key, 1, &count));
            if (random >> 60 == 0)
                OK(kvc_namespace_clear(engine, number % 8, &count));
            break;
        case 13:
            mixed_lane(mixed, number);
            break;
        case 14:
            OK(kvc_events_read(engine, &sequence, mixed->events, COUNT(mixed->events), &count, &lost));
            OK(kvc_tick(engine, 0, &count));
            mixed->operations_count++;
            break;
        default:
            if (random >> 60 != 0)
                break;
            OK(kvc_stats_get(engine, &stats));
            OK(kvc_capacity_get(engine, &capacity));
            OK(kvc_histogram_get(engine, KVC_OPERATION_GET, KVC_TIER_CPU, &histogram));
            OK(kvc_metrics_write(engine, mixed->text, sizeof mixed->text, &bytes));
            mixed->pins[0].struct_size = sizeof mixed->pins[0];
            OK(kvc_pins_get(engine, mixed->pins, COUNT(mixed->pins), &count));
            OK(kvc_key_chain(key, (const uint32_t *)(const void *)mixed->text, 16, &mixed->items[0].key));
            EXPECT(KVC_E_HANDLE, kvc_tick((const kvc_engine_t *)(const void *)mixed, 0, NULL));
            mixed->evictions_seen = stats.evictions + stats.evictions_swept;
            mixed->operations_count += 6;
        }
    }
}

#endif
