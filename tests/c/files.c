/* The file tiers through kvcache.h: kept over a restart, refused when they are not what was asked, copied up ahead of
 * use and bit by bit, damaged, and never a wrong byte.
 *
 * files [NAME]: runs all parts, or those whose name contains NAME, in a folder of its own under TMPDIR. Silent but for
 * the last line; ends with 1 at the first thing that is wrong. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { BLOCK_BYTES = 64 << 10, SLOTS_COUNT = 16, NVME_COUNT = 60, ALL_COUNT = 200 };

static char folder[200];

/* The path of a file of this run; the answers of the last eight calls stay valid. */
static const char *path_of(const char *name) {
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % COUNT(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int exists(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0;
}

/* Removes the files that a part uses, so that parts do not depend on each other. */
static void fresh(void) {
    unlink(path_of("nvme"));
    unlink(path_of("disk"));
}

static kvc_config_t config_memory(void) {
    kvc_config_t config = KVC_CONFIG_INIT;
    config.block_bytes = BLOCK_BYTES;
    config.cpu_bytes = (uint64_t)BLOCK_BYTES * SLOTS_COUNT;
    config.pins_count = 32;
    config.stripes_count = 4;
    config.lanes_count = 2;
    config.lane_depth = 64;
    /* The machine that runs this may be busy with other things for seconds. */
    config.write_wait_ms = 60000;
    return config;
}

static kvc_config_t config_nvme(void) {
    kvc_config_t config = config_memory();
    config.nvme_path = path_of("nvme");
    config.nvme_bytes = 8 << 20;
    config.nvme_depth = 8;
    return config;
}

static kvc_config_t config_both(void) {
    kvc_config_t config = config_nvme();
    config.disk_path = path_of("disk");
    config.disk_bytes = 16 << 20;
    config.disk_depth = 8;
    return config;
}

static void put(kvc_engine_t *engine, uint64_t number) {
    static uint8_t block[BLOCK_BYTES];
    kvc_key_t key = key_of(number);
    block_fill(number, block, sizeof block);
    OK(kvc_put(engine, &key, block, sizeof block, NULL));
    OK(kvc_tick(engine, 0, NULL));
}

/* The tiers that have the block. */
static uint8_t tiers(kvc_engine_t *engine, uint64_t number) {
    kvc_key_t key = key_of(number);
    uint8_t mask = 0;
    uint64_t count;
    OK(kvc_match_each(engine, &key, 1, 0, &mask, &count));
    CHECK(count == (mask != 0));
    return mask;
}

static uint64_t resident(kvc_engine_t *engine, uint64_t blocks_count) {
    uint64_t count = 0;
    for (uint64_t number = 0; number < blocks_count; number++)
        count += tiers(engine, number) != 0;
    return count;
}

/* Gets a block; its bytes are right, or it is a miss. */
static int got(kvc_engine_t *engine, uint64_t number) {
    static uint8_t target[BLOCK_BYTES];
    kvc_key_t key = key_of(number);
    uint64_t bytes = 0;
    memset(target, 0xee, sizeof target);
    kvc_status_t status = kvc_get(engine, &key, target, sizeof target, 0, &bytes);
    if (status == KVC_OK) {
        CHECK(bytes == BLOCK_BYTES && block_is(number, target, BLOCK_BYTES));
        return 1;
    }
    CHECK(status == KVC_MISS);
    return 0;
}

static kvc_stats_t stats_of(kvc_engine_t *engine) {
    kvc_stats_t stats = KVC_STATS_INIT;
    OK(kvc_stats_get(engine, &stats));
    return stats;
}

static kvc_tier_t tier_of(kvc_engine_t *engine, uint32_t number) {
    kvc_tier_t tier = KVC_TIER_INIT;
    OK(kvc_tier_get(engine, number, &tier));
    return tier;
}

static void flush(kvc_engine_t *engine) {
    uint64_t written = UINT64_MAX;
    OK(kvc_flush(engine, UINT64_MAX, &written));
    CHECK(written != UINT64_MAX);
}

/* A block that is in a file tier and not in memory, from `number` on. */
static uint64_t below(kvc_engine_t *engine, uint64_t number) {
    for (; number < ALL_COUNT; number++) {
        uint8_t mask = tiers(engine, number);
        if (mask != 0 && (mask & 1 << KVC_TIER_CPU) == 0)
            return number;
    }
    fprintf(stderr, "no block is in a file tier only\n");
    exit(1);
}

/* The engine refuses to open, and says which field is at fault. */
static void refused(kvc_status_t status, const kvc_config_t *config, const char *field) {
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_engine_t *engine = NULL;
    kvc_status_t answer = kvc_engine_open(config, &engine, &error);
    if (answer != status || (field != NULL && strcmp(error.field, field) != 0))
        fprintf(stderr, "%s %s: %s\n", kvc_status_name(answer), error.field, error.message);
    CHECK(answer == status && engine == NULL && error.status == status);
    CHECK(field == NULL || strcmp(error.field, field) == 0);
    CHECK(strncmp(error.message, kvc_status_name(status), strlen(kvc_status_name(status))) == 0);
    CHECK(strlen(error.message) > strlen(kvc_status_name(status)) + strlen(error.field) + 20);
}

/* ---- opening */

static void plans(void) {
    kvc_config_t config = config_both();
    kvc_plan_t with = KVC_PLAN_INIT, without = KVC_PLAN_INIT;
    OK(kvc_plan_compute(&config, &with, NULL));
    config = config_memory();
    OK(kvc_plan_compute(&config, &without, NULL));
    CHECK(without.file_bytes[KVC_TIER_NVME] == 0 && without.tier_bytes[KVC_TIER_NVME] == 0);
    CHECK(with.file_bytes[KVC_TIER_NVME] > 6 << 20 && with.file_bytes[KVC_TIER_NVME] <= 8 << 20);
    CHECK(with.file_bytes[KVC_TIER_DISK] > 12 << 20 && with.file_bytes[KVC_TIER_DISK] <= 16 << 20);
    CHECK(with.file_bytes[KVC_TIER_CPU] == 0 && with.file_bytes[7] == 0);
    CHECK(with.tier_bytes[KVC_TIER_NVME] >= 8 * 264 * 1024 && with.tier_bytes[KVC_TIER_DISK] >= 8 * 264 * 1024);
    CHECK(with.slots_count == without.slots_count && with.blocks_count > with.slots_count + NVME_COUNT);
    /* The buffers are neither bookkeeping nor slots. */
    CHECK(with.bytes - with.metadata_bytes > without.bytes - without.metadata_bytes);
    CHECK(!exists(path_of("nvme")) && !exists(path_of("disk")));
}

static void refusals(void) {
    fresh();
    kvc_config_t config = config_both();
    config.nvme_path = NULL;
    refused(KVC_E_CONFLICT, &config, "nvme_path");
    config = config_both();
    config.disk_bytes = 0;
    refused(KVC_E_CONFLICT, &config, "disk_bytes");
    config = config_both();
    config.nvme_depth = 3;
    refused(KVC_E_CONFIG, &config, "nvme_depth");
    config = config_both();
    config.disk_bytes = 1 << 16;
    refused(KVC_E_CONFLICT, &config, "disk_bytes");

    config = config_both();
    config.nvme_path = folder;
    refused(KVC_E_FILE, &config, "nvme_path");
    config = config_both();
    config.disk_path = folder;
    refused(KVC_E_FILE, &config, "disk_path");
    config.disk_path = path_of("no/such/folder");
    refused(KVC_E_FILE, &config, "disk_path");
    config.disk_path = "";
    refused(KVC_E_FILE, &config, "disk_path");
    /* More than any file system has: refused before anything is written. */
    config = config_both();
    config.nvme_bytes = (uint64_t)1 << 46;
    config.nvme_blocks_count = 1000;
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_engine_t *engine = NULL;
    kvc_status_t status = kvc_engine_open(&config, &engine, &error);
    CHECK((status == KVC_E_NO_SPACE || status == KVC_E_FILE) && engine == NULL);
    /* What was made on the way is gone again. */
    CHECK(!exists(path_of("nvme")) && !exists(path_of("disk")));
}

static void foreign(void) {
    fresh();
    static const char text[] = "Dear diary, today I was nearly overwritten.";
    char kept[sizeof text] = {0};
    int file = open(path_of("nvme"), O_RDWR | O_CREAT, 0600);
    CHECK(file >= 0 && write(file, text, sizeof text) == sizeof text);
    kvc_config_t config = config_nvme();
    refused(KVC_E_FILE_FOREIGN, &config, "nvme_path");
    CHECK(lseek(file, 0, SEEK_END) == sizeof text && pread(file, kept, sizeof kept, 0) == sizeof kept);
    CHECK(memcmp(text, kept, sizeof text) == 0);
    config.file_overwrite = 1;
    kvc_engine_t *engine = open_with(&config);
    put(engine, 1);
    flush(engine);
    OK(kvc_close(engine));
    config.file_overwrite = 0;
    engine = open_with(&config);
    CHECK(got(engine, 1));
    OK(kvc_close(engine));
    close(file);
}

static void mismatch(void) {
    fresh();
    kvc_config_t config = config_nvme();
    kvc_engine_t *engine = open_with(&config);
    put(engine, 1);
    flush(engine);
    OK(kvc_close(engine));

    kvc_config_t other = config;
    other.block_bytes = BLOCK_BYTES / 2;
    refused(KVC_E_FILE_MISMATCH, &other, NULL);
    other = config;
    other.nvme_segment_bytes = 512 << 10;
    refused(KVC_E_FILE_MISMATCH, &other, NULL);
    kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
    geometry.layers_count = geometry.kv_heads_count = 1;
    geometry.head_dim = geometry.tokens_per_block = 16;
    geometry.dtype = KVC_DTYPE_U8;
    other = config;
    other.geometries = &geometry;
    other.geometries_count = 1;
    refused(KVC_E_FILE_MISMATCH, &other, NULL);
    /* A file of the other tier. */
    other = config_memory();
    other.disk_path = config.nvme_path;
    other.disk_bytes = config.nvme_bytes;
    refused(KVC_E_FILE_MISMATCH, &other, NULL);

    engine = open_with(&config);
    CHECK(got(engine, 1));
    OK(kvc_close(engine));
}

static void busy(void) {
    fresh();
    kvc_config_t config = config_nvme();
    kvc_engine_t *engine = open_with(&config);
    refused(KVC_E_FILE_BUSY, &config, "nvme_path");
    /* Both tiers in one file. */
    kvc_config_t both = config_both();
    both.nvme_path = both.disk_path;
    refused(KVC_E_FILE_BUSY, &both, "disk_path");
    CHECK(!exists(both.disk_path));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        uint64_t count;
        EXPECT(KVC_E_FORKED, kvc_flush(engine, 0, &count));
        refused(KVC_E_FILE_BUSY, &config, "nvme_path");
        _exit(0);
    }
    int ended;
    CHECK(waitpid(child, &ended, 0) == child && WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    put(engine, 1);
    flush(engine);
    OK(kvc_close(engine));
    /* The file is free again. */
    engine = open_with(&config);
    CHECK(got(engine, 1));
    OK(kvc_close(engine));
}

/* ---- kept */

static void reopened(kvc_config_t config, uint64_t blocks_count) {
    fresh();
    uint8_t before[ALL_COUNT];
    kvc_engine_t *engine = open_with(&config);
    for (uint64_t number = 0; number < blocks_count; number++)
        put(engine, number);
    CHECK(resident(engine, blocks_count) == blocks_count);
    for (uint64_t number = 0; number < blocks_count; number++)
        CHECK(got(engine, number));
    flush(engine);
    kvc_stats_t stats = stats_of(engine);
    CHECK(stats.writes_skipped == 0 && stats.writes_refused == 0 && stats.io_errors == 0 && stats.flushes >= 1);
    CHECK(stats.checksum_failures == 0 && stats.raises >= blocks_count - SLOTS_COUNT - 1);
    CHECK(stats.nvme_writes >= blocks_count && stats.nvme_file_bytes > stats.nvme_write_bytes);
    for (uint64_t number = 0; number < blocks_count; number++) {
        before[number] = tiers(engine, number);
        CHECK((before[number] & ~(1 << KVC_TIER_CPU)) != 0);
    }
    OK(kvc_close(engine));

    engine = open_with(&config);
    stats = stats_of(engine);
    CHECK(stats.blocks_recovered >= blocks_count && stats.blocks_damaged == 0 && stats.blocks_resident == 0);
    for (uint64_t number = 0; number < blocks_count; number++)
        CHECK((before[number] & ~tiers(engine, number) & ~(1 << KVC_TIER_CPU)) == 0);
    for (uint64_t number = blocks_count; number-- > 0;)
        CHECK(got(engine, number));
    stats = stats_of(engine);
    CHECK(stats.nvme_hits + stats.disk_hits >= blocks_count && stats.checksum_failures == 0);
    /* A put of what is in a file is no put. */
    uint64_t number = below(engine, 0);
    kvc_key_t key = key_of(number);
    EXPECT(KVC_EXISTS, kvc_put(engine, &key, "x", 1, NULL));
    OK(kvc_close(engine));
}

static void kept_by_one_tier(void) {
    reopened(config_nvme(), NVME_COUNT);
}

static void kept_by_both_tiers(void) {
    reopened(config_both(), ALL_COUNT);
}

static void kept_with_workers(void) {
    kvc_config_t config = config_both();
    config.workers_count = 2;
    reopened(config, ALL_COUNT);
}

static void kept_through_plain_reads_and_writes(void) {
    kvc_config_t config = config_both();
    config.io_engine = KVC_IO_POSITIONAL;
    config.write_policy = KVC_WRITE_THROUGH;
    reopened(config, ALL_COUNT);
}

static void shutdown_flushes(void) {
    fresh();
    kvc_config_t config = config_both();
    kvc_engine_t *engine = open_with(&config);
    for (uint64_t number = 0; number < SLOTS_COUNT; number++)
        put(engine, number);
    OK(kvc_shutdown(engine));
    OK(kvc_close(engine));
    engine = open_with(&config);
    for (uint64_t number = 0; number < SLOTS_COUNT; number++)
        CHECK(got(engine, number));
    OK(kvc_close(engine));
}

static void removed_for_good(void) {
    fresh();
    kvc_config_t config = config_both();
    kvc_engine_t *engine = open_with(&config);
    for (uint64_t number = 0; number < 2 * SLOTS_COUNT; number++)
        put(engine, number);
    flush(engine);
    kvc_key_t keys[2 * SLOTS_COUNT];
    uint64_t count;
    for (uint64_t i = 0; i < COUNT(keys); i++)
        keys[i] = key_of(2 * i);
    OK(kvc_remove(engine, keys, COUNT(keys), &count));
    CHECK(count == SLOTS_COUNT);
    flush(engine);
    OK(kvc_close(engine));
    engine = open_with(&config);
    for (uint64_t number = 0; number < 2 * SLOTS_COUNT; number++)
        CHECK(got(engine, number) == (number % 2 == 1));
    OK(kvc_close(engine));
}

static void endurance(void) {
    fresh();
    kvc_config_t config = config_nvme();
    config.cpu_bytes = 8 << 20;
    config.nvme_endurance_bytes_per_day = 1;
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_plan_t plan = KVC_PLAN_INIT;
    EXPECT(KVC_E_CONFLICT, kvc_plan_compute(&config, &plan, &error));
    config.nvme_endurance_bytes_per_day = error.value_min;
    kvc_engine_t *engine = open_with(&config);
    /* More than the budget of a day. */
    for (uint64_t number = 0; number < 100; number++)
        put(engine, number);
    uint64_t count = 777;
    EXPECT(KVC_E_ENDURANCE, kvc_flush(engine, UINT64_MAX, &count));
    CHECK(count == 777 && tier_of(engine, KVC_TIER_NVME).bytes_written <= config.nvme_endurance_bytes_per_day);
    for (uint64_t number = 0; number < 100; number++)
        CHECK(got(engine, number));
    OK(kvc_close(engine));
}

/* ---- used */

static kvc_engine_t *open_filled(kvc_config_t config) {
    fresh();
    kvc_engine_t *engine = open_with(&config);
    for (uint64_t number = 0; number < NVME_COUNT; number++)
        put(engine, number);
    flush(engine);
    return engine;
}

static void states(void) {
    kvc_config_t config = config_both();
    kvc_plan_t plan = KVC_PLAN_INIT;
    OK(kvc_plan_compute(&config, &plan, NULL));
    kvc_engine_t *engine = open_filled(config);
    const uint32_t both[] = {KVC_TIER_NVME, KVC_TIER_DISK};
    for (size_t i = 0; i < COUNT(both); i++) {
        kvc_tier_t tier = tier_of(engine, both[i]);
        CHECK(tier.struct_size == sizeof tier && tier.state == KVC_TIER_STATE_ONLINE);
        CHECK(tier.io_name[0] != 0 && memchr(tier.io_name, 0, sizeof tier.io_name) != NULL);
        CHECK(tier.file_bytes == plan.file_bytes[both[i]] && tier.segments_count >= 4);
        CHECK(tier.segments_free <= tier.segments_count && tier.blocks_count <= tier.blocks_count_max);
    }
    kvc_tier_t tier = tier_of(engine, KVC_TIER_NVME);
    CHECK(tier.blocks_count > 0 && tier.writes >= tier.blocks_count && tier.bytes_written > tier.write_bytes);
    struct stat facts;
    CHECK(stat(path_of("nvme"), &facts) == 0 && (uint64_t)facts.st_size == plan.file_bytes[KVC_TIER_NVME]);
    CHECK(stat(path_of("disk"), &facts) == 0 && (uint64_t)facts.st_size == plan.file_bytes[KVC_TIER_DISK]);
    EXPECT(KVC_E_NO_DEVICE, kvc_tier_get(engine, KVC_TIER_CPU, &tier));
    EXPECT(KVC_E_UNSUPPORTED, kvc_tier_get(engine, KVC_TIERS_COUNT, &tier));
    OK(kvc_close(engine));

    fresh();
    kvc_config_t disk = config_memory();
    disk.disk_path = path_of("disk");
    disk.disk_bytes = 16 << 20;
    engine = open_with(&disk);
    EXPECT(KVC_E_NO_DEVICE, kvc_tier_get(engine, KVC_TIER_NVME, &tier));
    put(engine, 1);
    flush(engine);
    CHECK(tier_of(engine, KVC_TIER_DISK).blocks_count == 1);
    OK(kvc_close(engine));
}

static void prefetched(void) {
    kvc_engine_t *engine = open_filled(config_both());
    kvc_key_t keys[4];
    uint64_t numbers[4], next = 0, begun = 0;
    for (size_t i = 0; i < COUNT(keys); i++) {
        numbers[i] = below(engine, next);
        keys[i] = key_of(numbers[i]);
        next = numbers[i] + 1;
    }
    OK(kvc_prefetch(engine, keys, COUNT(keys), 0, &begun));
    CHECK(begun == COUNT(keys));
    for (size_t i = 0; i < COUNT(keys); i++)
        while ((tiers(engine, numbers[i]) & 1 << KVC_TIER_CPU) == 0)
            OK(kvc_tick(engine, 0, NULL));
    for (size_t i = 0; i < COUNT(keys); i++)
        CHECK(got(engine, numbers[i]));
    kvc_stats_t stats = stats_of(engine);
    CHECK(stats.prefetches >= COUNT(keys) && stats.raises >= COUNT(keys));
    /* What is there or nowhere is not begun. */
    keys[1] = key_of(ALL_COUNT + 1);
    OK(kvc_prefetch(engine, keys, 2, 0, &begun));
    CHECK(begun == 0);
    OK(kvc_prefetch(engine, NULL, 0, 0, &begun));
    EXPECT(KVC_E_UNSUPPORTED, kvc_prefetch(engine, keys, 2, 1, &begun));
    OK(kvc_close(engine));
}

static void partial(void) {
    kvc_engine_t *engine = open_filled(config_both());
    for (uint64_t number = below(engine, 0), round = 0; round < 8; round++, number = below(engine, 0)) {
        kvc_key_t key = key_of(number);
        kvc_view_t view;
        uint64_t ready = 0, before = 0;
        OK(kvc_acquire(engine, &key, KVC_ACQUIRE_PARTIAL, &view));
        CHECK(view.bytes == BLOCK_BYTES);
        for (;;) {
            kvc_status_t status = kvc_view_ready(engine, &view, &ready);
            CHECK(status == KVC_OK || status == KVC_PENDING);
            CHECK(ready >= before && ready <= BLOCK_BYTES && block_is(number, view.data, ready));
            before = ready;
            if (status == KVC_OK)
                break;
            OK(kvc_tick(engine, 0, NULL));
        }
        CHECK(ready == BLOCK_BYTES);
        OK(kvc_release(engine, &view));
        EXPECT(KVC_E_STALE, kvc_view_ready(engine, &view, &ready));
        /* In memory now: all of it is there at once. */
        OK(kvc_acquire(engine, &key, KVC_ACQUIRE_PARTIAL, &view));
        OK(kvc_view_ready(engine, &view, &ready));
        CHECK(ready == BLOCK_BYTES);
        OK(kvc_release(engine, &view));
        /* A view that is released before anything arrived does no harm. */
        key = key_of(below(engine, 0));
        OK(kvc_acquire(engine, &key, KVC_ACQUIRE_PARTIAL, &view));
        OK(kvc_release(engine, &view));
    }
    kvc_key_t nowhere = key_of(ALL_COUNT + 1);
    kvc_view_t view;
    EXPECT(KVC_MISS, kvc_acquire(engine, &nowhere, KVC_ACQUIRE_PARTIAL, &view));
    EXPECT(KVC_E_UNSUPPORTED, kvc_acquire(engine, &nowhere, 2, &view));
    OK(kvc_close(engine));
}

static void many_at_once(void) {
    kvc_engine_t *engine = open_filled(config_both());
    static uint8_t room[NVME_COUNT][BLOCK_BYTES];
    static kvc_item_t items[NVME_COUNT];
    for (uint64_t number = 0; number < NVME_COUNT; number++)
        items[number] = (kvc_item_t){.key = key_of(number), .data = room[number], .bytes = BLOCK_BYTES};
    uint64_t hits = 0;
    OK(kvc_get_many(engine, items, NVME_COUNT, 0, &hits));
    CHECK(hits == NVME_COUNT);
    for (uint64_t number = 0; number < NVME_COUNT; number++)
        CHECK(items[number].status == KVC_OK && block_is(number, room[number], BLOCK_BYTES));

    /* As many as memory has room for; the rest finds none while these are held. */
    kvc_key_t keys[SLOTS_COUNT / 2];
    kvc_view_t views[SLOTS_COUNT / 2];
    uint64_t count = 0;
    for (uint64_t number = 0; number < COUNT(keys); number++)
        keys[number] = key_of(number);
    OK(kvc_acquire_many(engine, keys, COUNT(keys), 0, views, &count));
    CHECK(count == COUNT(keys));
    for (uint64_t number = 0; number < COUNT(keys); number++)
        CHECK(block_is(number, views[number].data, BLOCK_BYTES));
    OK(kvc_release_many(engine, views, count, &count));
    OK(kvc_close(engine));
}

static kvc_op_t operation(uint32_t opcode, const kvc_key_t *keys, uint64_t keys_count, void *data, uint64_t user_data) {
    kvc_op_t op = {0};
    op.opcode = opcode;
    op.user_data = user_data;
    op.keys = keys;
    op.keys_count = keys_count;
    op.data = data;
    op.bytes = data == NULL ? 0 : BLOCK_BYTES;
    return op;
}

static void lanes(uint64_t workers_count) {
    kvc_config_t config = config_both();
    config.workers_count = workers_count;
    kvc_engine_t *engine = open_filled(config);
    static uint8_t room[8][BLOCK_BYTES];
    kvc_lane_t lane;
    kvc_key_t keys[8];
    kvc_op_t ops[8];
    kvc_ticket_t tickets[8], ticket;
    kvc_done_t done;
    uint64_t numbers[8], count, next = 0;
    OK(kvc_lane_open(engine, &lane));

    /* Waited for, now and for ever. */
    numbers[0] = below(engine, 0);
    keys[0] = key_of(numbers[0]);
    ops[0] = operation(KVC_OP_GET, keys, 1, room[0], 1);
    OK(kvc_submit(engine, lane, ops, 1, &ticket, &count));
    kvc_status_t status = kvc_wait(engine, lane, ticket, 0, &done);
    CHECK(status == KVC_OK || status == KVC_TIMEOUT);
    if (status == KVC_TIMEOUT)
        OK(kvc_wait(engine, lane, ticket, UINT64_MAX, &done));
    CHECK(done.status == KVC_OK && done.result == BLOCK_BYTES && block_is(numbers[0], room[0], BLOCK_BYTES));

    /* Some are cancelled on the way; each completes once, and what was not cancelled is right. */
    for (uint64_t round = 0; round < 16; round++) {
        next = 0;
        for (size_t i = 0; i < COUNT(ops); i++) {
            numbers[i] = below(engine, next);
            next = numbers[i] + 1;
            keys[i] = key_of(numbers[i]);
            ops[i] = operation(KVC_OP_GET, &keys[i], 1, room[i], i);
        }
        OK(kvc_submit(engine, lane, ops, COUNT(ops), tickets, &count));
        CHECK(count == COUNT(ops));
        int cancelled[COUNT(ops)] = {0};
        if (round % 2 == 1) {
            kvc_done_t none;
            OK(kvc_reap(engine, lane, &none, 0, &count));
        }
        for (size_t i = round % 3; i < COUNT(ops); i += 3) {
            status = kvc_cancel(engine, lane, tickets[i]);
            CHECK(status == KVC_OK || status == KVC_PENDING);
            cancelled[i] = status == KVC_OK;
        }
        int completed[COUNT(ops)] = {0};
        for (size_t left = COUNT(ops); left != 0; left -= count) {
            OK(kvc_tick(engine, 0, NULL));
            OK(kvc_reap(engine, lane, &done, 1, &count));
            if (count == 0)
                continue;
            uint64_t i = done.user_data;
            CHECK(i < COUNT(ops) && completed[i]++ == 0);
            CHECK(done.status == (cancelled[i] ? KVC_CANCELLED : KVC_OK));
            CHECK(cancelled[i] || block_is(numbers[i], room[i], BLOCK_BYTES));
        }
    }

    /* Ahead of use, and durable, without waiting. */
    keys[0] = key_of(below(engine, 0));
    ops[0] = operation(KVC_OP_PREFETCH, keys, 1, NULL, 7);
    ops[1] = operation(KVC_OP_FLUSH, NULL, 0, NULL, 8);
    put(engine, ALL_COUNT);
    OK(kvc_submit(engine, lane, ops, 2, tickets, &count));
    CHECK(count == 2);
    OK(kvc_wait(engine, lane, tickets[0], UINT64_MAX, &done));
    CHECK(done.status == KVC_OK && done.result == 1 && done.user_data == 7);
    OK(kvc_wait(engine, lane, tickets[1], UINT64_MAX, &done));
    CHECK(done.status == KVC_OK && done.user_data == 8);
    CHECK((tiers(engine, ALL_COUNT) & ~(1 << KVC_TIER_CPU)) != 0);
    ops[1].keys = keys;
    ops[1].keys_count = 1;
    EXPECT(KVC_E_UNSUPPORTED, kvc_submit(engine, lane, &ops[1], 1, NULL, &count));
    OK(kvc_lane_close(engine, lane));
    OK(kvc_close(engine));
}

static void lanes_by_tick(void) {
    lanes(0);
}

static void lanes_by_workers(void) {
    lanes(2);
}

/* ---- damaged */

static void damaged(void) {
    kvc_config_t config = config_nvme();
    OK(kvc_close(open_filled(config)));
    /* The second and the third segment, whole. */
    enum { FROM = (64 << 10) + (1 << 20), BYTES = 2 << 20 };
    static uint8_t noise[BYTES], after[BYTES];
    memset(noise, 0xa5, sizeof noise);
    int file = open(path_of("nvme"), O_RDWR);
    CHECK(file >= 0 && pwrite(file, noise, BYTES, FROM) == BYTES);
    kvc_config_t strict = config;
    strict.damage = KVC_DAMAGE_REFUSE;
    refused(KVC_E_FILE_DAMAGED, &strict, "nvme_path");
    CHECK(pread(file, after, BYTES, FROM) == BYTES && memcmp(noise, after, BYTES) == 0);

    kvc_engine_t *engine = open_with(&config);
    CHECK(stats_of(engine).blocks_damaged > 0);
    uint64_t found = 0;
    for (uint64_t number = 0; number < NVME_COUNT; number++)
        found += (uint64_t)got(engine, number);
    CHECK(found > 0 && found < NVME_COUNT);
    OK(kvc_close(engine));

    /* Bytes of blocks, under a running engine: found when they are read. */
    engine = open_filled(config);
    uint64_t number = below(engine, 0);
    close(file);
    file = open(path_of("nvme"), O_RDWR);
    CHECK(file >= 0);
    for (off_t at = 64 << 10; at < 8 << 20; at += 4096)
        (void)!pwrite(file, "?", 1, at + 2000);
    kvc_key_t key = key_of(number);
    kvc_view_t view;
    uint64_t ready = 0;
    kvc_status_t status = kvc_acquire(engine, &key, KVC_ACQUIRE_PARTIAL, &view);
    CHECK(status == KVC_OK || status == KVC_MISS);
    if (status == KVC_OK) {
        while ((status = kvc_view_ready(engine, &view, &ready)) == KVC_PENDING)
            OK(kvc_tick(engine, 0, NULL));
        CHECK(status == KVC_MISS);
        OK(kvc_release(engine, &view));
    }
    CHECK(!got(engine, number) && tiers(engine, number) == 0);
    kvc_event_t events[64];
    uint64_t sequence = 0, count, lost;
    int reported = 0;
    do {
        OK(kvc_events_read(engine, &sequence, events, COUNT(events), &count, &lost));
        for (uint64_t i = 0; i < count; i++)
            reported |= events[i].kind == KVC_EVENT_DAMAGED && events[i].tier == KVC_TIER_NVME &&
                        memcmp(&events[i].key, &key, sizeof key) == 0;
    } while (count == COUNT(events));
    CHECK(reported && stats_of(engine).checksum_failures >= 1);
    for (number = 0; number < NVME_COUNT; number++)
        (void)got(engine, number);
    OK(kvc_close(engine));
    close(file);
}

static void truncated(void) {
    kvc_config_t config = config_nvme();
    kvc_engine_t *engine = open_filled(config);
    uint64_t held = 0;
    for (uint64_t number = 0; number < NVME_COUNT; number++)
        held += (tiers(engine, number) & 1 << KVC_TIER_CPU) != 0;
    CHECK(truncate(path_of("nvme"), 1 << 20) == 0 && held > 0);
    /* Memory goes on serving, whatever becomes of the rest. */
    for (uint64_t number = 0; number < NVME_COUNT; number++)
        (void)got(engine, number);
    static uint8_t block[BLOCK_BYTES];
    kvc_key_t key = key_of(ALL_COUNT + 5);
    block_fill(ALL_COUNT + 5, block, sizeof block);
    OK(kvc_put(engine, &key, block, sizeof block, NULL));
    CHECK(got(engine, ALL_COUNT + 5));
    OK(kvc_close(engine));
}

/* */

int main(int arguments_count, char **arguments) {
    const part_t parts[] = {
        {"plans", plans},
        {"refusals", refusals},
        {"foreign", foreign},
        {"mismatch", mismatch},
        {"busy", busy},
        {"kept_by_one_tier", kept_by_one_tier},
        {"kept_by_both_tiers", kept_by_both_tiers},
        {"kept_with_workers", kept_with_workers},
        {"kept_through_plain_reads_and_writes", kept_through_plain_reads_and_writes},
        {"shutdown_flushes", shutdown_flushes},
        {"removed_for_good", removed_for_good},
        {"endurance", endurance},
        {"states", states},
        {"prefetched", prefetched},
        {"partial", partial},
        {"many_at_once", many_at_once},
        {"lanes_by_tick", lanes_by_tick},
        {"lanes_by_workers", lanes_by_workers},
        {"damaged", damaged},
        {"truncated", truncated},
    };
    folder_make(folder, sizeof folder, "files");
    size_t parts_count = parts_run(parts, COUNT(parts), arguments_count, arguments);
    fresh();
    CHECK(rmdir(folder) == 0);
    printf("files: %zu parts, %lu checks\n", parts_count, checks_count);
    return parts_count == 0;
}
