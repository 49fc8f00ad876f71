/* Every function of kvcache.h, used rightly and wrongly: each misuse is a status, none a crash.
 *
 * suite [NAME]: runs all parts, or those whose name contains NAME. Silent but for the last line; ends with 1 at the
 * first thing that is wrong. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { BLOCK_BYTES = 256, SLOTS_COUNT = 64 };

/* Bytes that structs had in the first version. */
enum { CONFIG_BYTES_FIRST = 176, PLAN_BYTES_FIRST = 2696, STATS_BYTES_FIRST = 304 };

static kvc_config_t config_small(void) {
    kvc_config_t config = KVC_CONFIG_INIT;
    config.block_bytes = BLOCK_BYTES;
    config.cpu_bytes = (uint64_t)BLOCK_BYTES * SLOTS_COUNT;
    config.pins_count = 32;
    config.stripes_count = 1;
    config.lanes_count = 2;
    config.lane_depth = 16;
    config.events_count = 64;
    /* The order of eviction that the checks below say. */
    config.policy = KVC_POLICY_LRU;
    return config;
}

static kvc_engine_t *open_small(void) {
    kvc_config_t config = config_small();
    return open_with(&config);
}

static void put(kvc_engine_t *engine, uint64_t number) {
    uint8_t block[BLOCK_BYTES];
    kvc_key_t key = key_of(number);
    block_fill(number, block, sizeof block);
    OK(kvc_put(engine, &key, block, sizeof block, NULL));
}

static int resident(kvc_engine_t *engine, uint64_t number) {
    kvc_key_t key = key_of(number);
    uint64_t count = 99;
    OK(kvc_match(engine, &key, 1, 0, &count));
    CHECK(count <= 1);
    return (int)count;
}

/* ---- versions, statuses */

static void versions(void) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", KVC_VERSION_MAJOR, KVC_VERSION_MINOR, KVC_VERSION_PATCH);
    CHECK(strcmp(kvc_version(), text) == 0);
    CHECK(kvc_abi_version() == KVC_ABI_VERSION);
    CHECK(strcmp(kvc_status_name(KVC_OK), "KVC_OK") == 0);
    CHECK(strcmp(kvc_status_name(KVC_E_INTERNAL), "KVC_E_INTERNAL") == 0);
    CHECK(strcmp(kvc_status_name(12345), "KVC_UNKNOWN") == 0);
    CHECK(strcmp(kvc_status_name(INT32_MIN), "KVC_UNKNOWN") == 0);
}

/* ---- structs that grow */

/* A struct as a later version of the header might have it, or as an earlier one had it. */
typedef struct {
    kvc_config_t config;
    uint64_t later[4];
} config_later_t;

static void growable_structs(void) {
    kvc_plan_t plan = KVC_PLAN_INIT;
    config_later_t later;
    memset(&later, 0, sizeof later);
    later.config = config_small();
    later.config.struct_size = sizeof later;
    OK(kvc_plan_compute(&later.config, &plan, NULL));
    later.later[3] = 1;
    EXPECT(KVC_E_UNSUPPORTED, kvc_plan_compute(&later.config, &plan, NULL));
    later.later[3] = 0;
    later.later[0] = (uint64_t)1 << 63;
    EXPECT(KVC_E_UNSUPPORTED, kvc_plan_compute(&later.config, &plan, NULL));

    const uint64_t wrong[] = {0, 1, 7, 8, CONFIG_BYTES_FIRST - 8, sizeof(kvc_config_t) + 1, sizeof(kvc_config_t) + 4};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        kvc_config_t config = config_small();
        kvc_engine_t *engine = NULL;
        config.struct_size = wrong[i];
        EXPECT(KVC_E_ARGUMENT, kvc_plan_compute(&config, &plan, NULL));
        EXPECT(KVC_E_ARGUMENT, kvc_engine_open(&config, &engine, NULL));
        EXPECT(KVC_E_ARGUMENT, kvc_config_init(&config));
        CHECK(engine == NULL);
    }
    kvc_config_t config = config_small();
    config.struct_size = UINT64_MAX - 7;
    EXPECT(KVC_E_UNSUPPORTED, kvc_plan_compute(&config, &plan, NULL));

    /* Outputs: no more than struct_size bytes are written, and struct_size stays. */
    struct {
        kvc_plan_t plan;
        uint64_t later[2];
    } target;
    memset(&target, 0x5a, sizeof target);
    target.plan.struct_size = sizeof target;
    config = config_small();
    OK(kvc_plan_compute(&config, &target.plan, NULL));
    CHECK(target.plan.struct_size == sizeof target && target.plan.slots_count == SLOTS_COUNT);
    CHECK(target.later[0] == 0x5a5a5a5a5a5a5a5a && target.later[1] == target.later[0]);
    target.plan.struct_size = 12;
    EXPECT(KVC_E_ARGUMENT, kvc_plan_compute(&config, &target.plan, NULL));

    /* Every other growable struct keeps to the same rule. */
    kvc_engine_t *engine = open_small();
    kvc_stats_t stats = KVC_STATS_INIT;
    kvc_capacity_t capacity = KVC_CAPACITY_INIT;
    kvc_histogram_t histogram = KVC_HISTOGRAM_INIT;
    kvc_pin_info_t pin = KVC_PIN_INFO_INIT;
    kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_tier_t tier = KVC_TIER_INIT;
    uint64_t *sizes[] = {&stats.struct_size, &capacity.struct_size, &histogram.struct_size, &pin.struct_size,
                         &geometry.struct_size, &info.struct_size, &error.struct_size, &tier.struct_size};
    for (size_t i = 0; i < COUNT(sizes); i++)
        *sizes[i] -= 4;
    uint64_t count;
    kvc_key_t key = key_of(1);
    EXPECT(KVC_E_ARGUMENT, kvc_stats_get(engine, &stats));
    EXPECT(KVC_E_ARGUMENT, kvc_capacity_get(engine, &capacity));
    EXPECT(KVC_E_ARGUMENT, kvc_histogram_get(engine, KVC_OPERATION_GET, KVC_TIER_CPU, &histogram));
    EXPECT(KVC_E_ARGUMENT, kvc_pins_get(engine, &pin, 1, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_geometry_block_bytes(&geometry, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_put(engine, &key, "x", 1, &info));
    EXPECT(KVC_E_ARGUMENT, kvc_plan_compute(&config, &plan, &error));
    EXPECT(KVC_E_ARGUMENT, kvc_tier_get(engine, KVC_TIER_NVME, &tier));
    CHECK(!resident(engine, 1));

    struct {
        kvc_put_info_t info;
        uint64_t later;
    } info_later;
    memset(&info_later, 0, sizeof info_later);
    info_later.info.struct_size = sizeof info_later;
    info_later.later = 1;
    EXPECT(KVC_E_UNSUPPORTED, kvc_put(engine, &key, "x", 1, &info_later.info));
    info_later.later = 0;
    OK(kvc_put(engine, &key, "x", 1, &info_later.info));
    OK(kvc_close(engine));
}

/* A program that was compiled against the first version: its structs are shorter, and what lies behind them is not the
 * library's. */
static void first_version(void) {
    kvc_config_t config = config_small();
    memset((char *)&config + CONFIG_BYTES_FIRST, 0x5a, sizeof config - CONFIG_BYTES_FIRST);
    config.struct_size = CONFIG_BYTES_FIRST;
    kvc_plan_t plan, whole = KVC_PLAN_INIT;
    memset(&plan, 0x5a, sizeof plan);
    plan.struct_size = PLAN_BYTES_FIRST;
    OK(kvc_plan_compute(&config, &plan, NULL));
    OK(kvc_plan_compute(&config, &whole, NULL));
    CHECK(plan.file_bytes[0] == 0x5a5a5a5a5a5a5a5a && whole.file_bytes[KVC_TIER_NVME] == 0);
    CHECK(memcmp((char *)&plan + 8, (char *)&whole + 8, PLAN_BYTES_FIRST - 8) == 0);
    OK(kvc_config_init(&config));
    CHECK(config.nvme_depth == 0x5a5a5a5a5a5a5a5a && config.pins_count == 4096);

    kvc_config_t small = config_small();
    memcpy((char *)&config + 8, (char *)&small + 8, CONFIG_BYTES_FIRST - 8);
    kvc_engine_t *engine = open_with(&config);
    put(engine, 1);
    CHECK(resident(engine, 1));
    kvc_stats_t stats;
    memset(&stats, 0x5a, sizeof stats);
    stats.struct_size = STATS_BYTES_FIRST;
    OK(kvc_stats_get(engine, &stats));
    CHECK(stats.commits == 1 && stats.raises == 0x5a5a5a5a5a5a5a5a);
    OK(kvc_close(engine));
}

/* ---- plan, open, close */

static void plan(void) {
    kvc_config_t config = KVC_CONFIG_INIT;
    OK(kvc_config_init(&config));
    CHECK(config.struct_size == sizeof config && config.block_bytes == 0 && config.cpu_bytes == 0);
    CHECK(config.policy == KVC_POLICY_HAZARD && config.pins_count == 4096 && config.lanes_count == 8);
    config.block_bytes = 4096;
    config.cpu_bytes = 1 << 20;
    kvc_plan_t written_out = KVC_PLAN_INIT, plan = KVC_PLAN_INIT;
    OK(kvc_plan_compute(&config, &written_out, NULL));

    /* Zero means the default, in every field. */
    kvc_config_t zeros = KVC_CONFIG_INIT;
    zeros.block_bytes = config.block_bytes;
    zeros.cpu_bytes = config.cpu_bytes;
    OK(kvc_plan_compute(&zeros, &plan, NULL));
    CHECK(memcmp(&plan, &written_out, sizeof plan) == 0);

    CHECK(plan.slots_count == 256 && plan.blocks_count == 256 && plan.slot_bytes == 4096);
    CHECK(plan.components_count > 3 && plan.components_count <= KVC_COMPONENTS_COUNT_MAX);
    uint64_t bytes = 0, metadata_bytes = 0, tiers_bytes = 0;
    for (uint64_t i = 0; i < plan.components_count; i++) {
        const kvc_component_t *component = &plan.components[i];
        CHECK(component->name[0] != 0 && memchr(component->name, 0, sizeof component->name) != NULL);
        CHECK(component->offset == bytes && component->tier < KVC_TIERS_COUNT && component->metadata <= 1);
        CHECK(component->count * component->bytes_each <= component->bytes);
        bytes += component->bytes;
        metadata_bytes += component->metadata ? component->bytes : 0;
    }
    for (size_t tier = 0; tier < COUNT(plan.tier_bytes); tier++)
        tiers_bytes += plan.tier_bytes[tier];
    CHECK(bytes == plan.bytes && tiers_bytes == bytes && plan.tier_bytes[KVC_TIER_CPU] == bytes);
    CHECK(metadata_bytes == plan.metadata_bytes);
    CHECK(plan.metadata_bytes_per_block > 32);

    /* A million blocks: bookkeeping is within three cache lines each, and less than half a line more than two with
     * a policy that learns nothing. */
    kvc_config_t million = KVC_CONFIG_INIT;
    million.block_bytes = 64;
    million.cpu_bytes = 64 << 20;
    OK(kvc_plan_compute(&million, &plan, NULL));
    CHECK(plan.slots_count == 1 << 20 && plan.metadata_bytes_per_block <= 184);
    million.policy = KVC_POLICY_LRU;
    OK(kvc_plan_compute(&million, &plan, NULL));
    CHECK(plan.slots_count == 1 << 20 && plan.metadata_bytes_per_block <= 137);

    config.events_count = config.lanes_count = config.latency_sample_count = KVC_NONE;
    OK(kvc_plan_compute(&config, &plan, NULL));
    CHECK(plan.bytes < written_out.bytes);
    EXPECT(KVC_E_NULL, kvc_config_init(NULL));
    EXPECT(KVC_E_NULL, kvc_plan_compute(NULL, &plan, NULL));
    EXPECT(KVC_E_NULL, kvc_plan_compute(&config, NULL, NULL));
}

static void refused(kvc_status_t status, const kvc_config_t *config, const char *field, uint64_t value) {
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_engine_t *engine = NULL;
    kvc_status_t answer = kvc_engine_open(config, &engine, &error);
    if (answer != status || strcmp(error.field, field) != 0)
        fprintf(stderr, "%s %s: %s\n", kvc_status_name(answer), error.field, error.message);
    CHECK(answer == status && engine == NULL);
    CHECK(error.struct_size == sizeof error && error.status == status);
    CHECK(strcmp(error.field, field) == 0 && error.value == value && error.value_min <= error.value_max);
    CHECK(strstr(error.message, field) != NULL && memchr(error.message, 0, sizeof error.message) != NULL);
}

static void refusals(void) {
    kvc_config_t config = KVC_CONFIG_INIT;
    refused(KVC_E_CONFIG, &config, "block_bytes", 0);
    config.block_bytes = 1024;
    refused(KVC_E_CONFIG, &config, "cpu_bytes", 0);
    config.cpu_bytes = UINT64_MAX;
    refused(KVC_E_CONFIG, &config, "cpu_bytes", UINT64_MAX);

    const struct {
        size_t offset;
        uint64_t value;
        const char *field;
    } fields[] = {
        {offsetof(kvc_config_t, policy), 99, "policy"},
        {offsetof(kvc_config_t, pins_count), UINT64_MAX, "pins_count"},
        {offsetof(kvc_config_t, stripes_count), 3, "stripes_count"},
        {offsetof(kvc_config_t, lanes_count), 1 << 20, "lanes_count"},
        {offsetof(kvc_config_t, lane_depth), 100, "lane_depth"},
        {offsetof(kvc_config_t, events_count), 1000, "events_count"},
        {offsetof(kvc_config_t, workers_count), 1000, "workers_count"},
        {offsetof(kvc_config_t, huge_pages), 3, "huge_pages"},
        {offsetof(kvc_config_t, memory_lock), 2, "memory_lock"},
        {offsetof(kvc_config_t, prefault), 3, "prefault"},
        {offsetof(kvc_config_t, pin_expiry_ms), UINT64_MAX, "pin_expiry_ms"},
        {offsetof(kvc_config_t, reservation_expiry_ms), UINT64_MAX, "reservation_expiry_ms"},
        {offsetof(kvc_config_t, latency_sample_count), 3, "latency_sample_count"},
        {offsetof(kvc_config_t, clock), 2, "clock"},
        {offsetof(kvc_config_t, geometries_count), 17, "geometries_count"},
        {offsetof(kvc_config_t, nvme_bytes), UINT64_MAX, "nvme_bytes"},
        {offsetof(kvc_config_t, nvme_segment_bytes), 1, "nvme_segment_bytes"},
        {offsetof(kvc_config_t, nvme_blocks_count), UINT64_MAX, "nvme_blocks_count"},
        {offsetof(kvc_config_t, nvme_depth), 3, "nvme_depth"},
        {offsetof(kvc_config_t, nvme_admission), 4, "nvme_admission"},
        {offsetof(kvc_config_t, nvme_promotion_hits), 256, "nvme_promotion_hits"},
        {offsetof(kvc_config_t, nvme_stall_ms), UINT64_MAX, "nvme_stall_ms"},
        {offsetof(kvc_config_t, disk_bytes), UINT64_MAX, "disk_bytes"},
        {offsetof(kvc_config_t, disk_segment_bytes), 1, "disk_segment_bytes"},
        {offsetof(kvc_config_t, disk_blocks_count), UINT64_MAX, "disk_blocks_count"},
        {offsetof(kvc_config_t, disk_depth), 257, "disk_depth"},
        {offsetof(kvc_config_t, disk_admission), 4, "disk_admission"},
        {offsetof(kvc_config_t, disk_promotion_hits), 256, "disk_promotion_hits"},
        {offsetof(kvc_config_t, disk_stall_ms), UINT64_MAX, "disk_stall_ms"},
        {offsetof(kvc_config_t, write_policy), 3, "write_policy"},
        {offsetof(kvc_config_t, damage), 3, "damage"},
        {offsetof(kvc_config_t, io_engine), 4, "io_engine"},
        {offsetof(kvc_config_t, file_overwrite), 2, "file_overwrite"},
        {offsetof(kvc_config_t, slots_free_high_permille), 501, "slots_free_high_permille"},
        {offsetof(kvc_config_t, write_wait_ms), UINT64_MAX - 1, "write_wait_ms"},
        {offsetof(kvc_config_t, dedup), 2, "dedup"},
        {offsetof(kvc_config_t, tuning), 2, "tuning"},
        {offsetof(kvc_config_t, admission_loss_permille), 501, "admission_loss_permille"},
    };
    for (size_t i = 0; i < COUNT(fields); i++) {
        config = config_small();
        memcpy((char *)&config + fields[i].offset, &fields[i].value, sizeof fields[i].value);
        refused(KVC_E_CONFIG, &config, fields[i].field, fields[i].value);
    }
    config = config_small();
    config.clock = KVC_CLOCK_TICKS;
    config.workers_count = 1;
    refused(KVC_E_CONFLICT, &config, "workers_count", 1);
    config = config_small();
    config.slots_free_low_permille = 41;
    refused(KVC_E_CONFLICT, &config, "slots_free_low_permille", 41);
    config = config_small();
    config.nvme_path = "nowhere";
    refused(KVC_E_CONFLICT, &config, "nvme_bytes", 0);
    config = config_small();
    config.disk_bytes = 1 << 30;
    refused(KVC_E_CONFLICT, &config, "disk_path", 0);
    config = config_small();
    config.memory_bytes = 4096;
    refused(KVC_E_CONFLICT, &config, "memory_bytes", 4096);

    /* Geometries: an array of structs that grow. */
    kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
    config = config_small();
    config.geometries = &geometry;
    config.geometries_count = 1;
    refused(KVC_E_CONFIG, &config, "dtype", 0);
    geometry.dtype = KVC_DTYPE_U8;
    refused(KVC_E_CONFIG, &config, "layers_count", 0);
    config.geometries = NULL;
    kvc_engine_t *engine = NULL;
    EXPECT(KVC_E_NULL, kvc_engine_open(&config, &engine, NULL));

    config = config_small();
    EXPECT(KVC_E_NULL, kvc_engine_open(&config, NULL, NULL));
    EXPECT(KVC_E_NULL, kvc_engine_open(NULL, &engine, NULL));
    CHECK(engine == NULL);
}

static void handles(void) {
    char garbage[64];
    memset(garbage, 0x5a, sizeof garbage);
    kvc_engine_t *engine = open_small();
    kvc_engine_t *wrong[] = {(kvc_engine_t *)garbage, (kvc_engine_t *)(void *)1, (kvc_engine_t *)(uintptr_t)-1,
                             (kvc_engine_t *)((char *)engine + 1), (kvc_engine_t *)((char *)engine + 64)};
    kvc_key_t key = key_of(1);
    kvc_view_t view = {0};
    kvc_reservation_t reservation = {0};
    kvc_lane_t lane = {0, 0};
    kvc_ticket_t ticket = {0, 0};
    kvc_stats_t stats = KVC_STATS_INIT;
    kvc_capacity_t capacity = KVC_CAPACITY_INIT;
    kvc_histogram_t histogram = KVC_HISTOGRAM_INIT;
    kvc_pin_info_t pin = KVC_PIN_INFO_INIT;
    kvc_tier_t file_tier = KVC_TIER_INIT;
    kvc_done_t done;
    kvc_op_t op = {0};
    kvc_event_t event;
    kvc_item_t item = {0};
    uint64_t count, sequence = 0, lost;
    uint8_t tier;
    int32_t fd;
    char text[8];

    OK(kvc_close(engine));
    for (size_t i = 0; i <= COUNT(wrong) + 1; i++) {
        /* The closed engine, NULL, and what was never an engine. */
        kvc_engine_t *handle = i == 0 ? engine : i == 1 ? NULL : wrong[i - 2];
        kvc_status_t status = handle == NULL ? KVC_E_NULL : KVC_E_HANDLE;
        EXPECT(status, kvc_shutdown(handle));
        EXPECT(status, kvc_close(handle));
        EXPECT(status, kvc_match(handle, &key, 1, 0, &count));
        EXPECT(status, kvc_match_each(handle, &key, 1, 0, &tier, &count));
        EXPECT(status, kvc_get(handle, &key, text, sizeof text, 0, &count));
        EXPECT(status, kvc_get_many(handle, &item, 1, 0, &count));
        EXPECT(status, kvc_acquire(handle, &key, 0, &view));
        EXPECT(status, kvc_acquire_many(handle, &key, 1, 0, &view, &count));
        EXPECT(status, kvc_release(handle, &view));
        EXPECT(status, kvc_release_many(handle, &view, 1, &count));
        EXPECT(status, kvc_reserve(handle, &key, 1, NULL, &reservation));
        EXPECT(status, kvc_commit(handle, &reservation, 1));
        EXPECT(status, kvc_abort(handle, &reservation));
        EXPECT(status, kvc_put(handle, &key, "x", 1, NULL));
        EXPECT(status, kvc_put_many(handle, &item, 1, NULL, &count));
        EXPECT(status, kvc_remove(handle, &key, 1, &count));
        EXPECT(status, kvc_touch(handle, &key, 1, &count));
        EXPECT(status, kvc_retain(handle, &key, 1, 0, 0, 0, &count));
        EXPECT(status, kvc_namespace_clear(handle, 0, &count));
        EXPECT(status, kvc_lane_open(handle, &lane));
        EXPECT(status, kvc_lane_close(handle, lane));
        EXPECT(status, kvc_lane_event_fd(handle, lane, &fd));
        EXPECT(status, kvc_submit(handle, lane, &op, 1, NULL, &count));
        EXPECT(status, kvc_reap(handle, lane, &done, 1, &count));
        EXPECT(status, kvc_wait(handle, lane, ticket, 0, &done));
        EXPECT(status, kvc_cancel(handle, lane, ticket));
        EXPECT(status, kvc_tick(handle, 0, NULL));
        EXPECT(status, kvc_stats_get(handle, &stats));
        EXPECT(status, kvc_capacity_get(handle, &capacity));
        EXPECT(status, kvc_histogram_get(handle, 0, KVC_TIER_CPU, &histogram));
        EXPECT(status, kvc_metrics_write(handle, text, sizeof text, &count));
        EXPECT(status, kvc_events_read(handle, &sequence, &event, 1, &count, &lost));
        EXPECT(status, kvc_pins_get(handle, &pin, 1, &count));
        EXPECT(status, kvc_prefetch(handle, &key, 1, 0, &count));
        EXPECT(status, kvc_flush(handle, 0, &count));
        EXPECT(status, kvc_view_ready(handle, &view, &count));
        EXPECT(status, kvc_tier_get(handle, KVC_TIER_NVME, &file_tier));
    }
}

/* NULL for each pointer in turn; and with a count of 0 an array may be NULL. */
static void nulls(void) {
    kvc_engine_t *engine = open_small();
    kvc_view_t zeros = {0};
    kvc_key_t key = key_of(1);
    kvc_lane_t lane;
    kvc_view_t view;
    kvc_done_t done;
    kvc_event_t event;
    kvc_pin_info_t pin = KVC_PIN_INFO_INIT;
    kvc_op_t op = {0};
    uint64_t count = 7, sequence = 0, lost;
    uint8_t tier;
    char text[8];
    OK(kvc_lane_open(engine, &lane));
    op.opcode = KVC_OP_MATCH;
    op.keys_count = 1;

    EXPECT(KVC_E_NULL, kvc_match(engine, NULL, 1, 0, &count));
    EXPECT(KVC_E_NULL, kvc_match(engine, &key, 1, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_match_each(engine, NULL, 1, 0, &tier, &count));
    EXPECT(KVC_E_NULL, kvc_match_each(engine, &key, 1, 0, NULL, &count));
    EXPECT(KVC_E_NULL, kvc_match_each(engine, &key, 1, 0, &tier, NULL));
    EXPECT(KVC_E_NULL, kvc_get(engine, NULL, text, sizeof text, 0, &count));
    EXPECT(KVC_E_NULL, kvc_get(engine, &key, NULL, 1, 0, &count));
    EXPECT(KVC_E_NULL, kvc_get(engine, &key, text, sizeof text, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_get_many(engine, NULL, 1, 0, &count));
    EXPECT(KVC_E_NULL, kvc_get_many(engine, NULL, 0, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_acquire(engine, NULL, 0, &view));
    EXPECT(KVC_E_NULL, kvc_acquire(engine, &key, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_acquire_many(engine, NULL, 1, 0, &view, &count));
    EXPECT(KVC_E_NULL, kvc_acquire_many(engine, &key, 1, 0, NULL, &count));
    EXPECT(KVC_E_NULL, kvc_acquire_many(engine, &key, 1, 0, &view, NULL));
    EXPECT(KVC_E_NULL, kvc_release(engine, NULL));
    EXPECT(KVC_E_NULL, kvc_release_many(engine, NULL, 1, &count));
    EXPECT(KVC_E_NULL, kvc_reserve(engine, NULL, 1, NULL, (kvc_reservation_t *)&view));
    EXPECT(KVC_E_NULL, kvc_reserve(engine, &key, 1, NULL, NULL));
    EXPECT(KVC_E_NULL, kvc_commit(engine, NULL, 1));
    EXPECT(KVC_E_NULL, kvc_abort(engine, NULL));
    EXPECT(KVC_E_NULL, kvc_put(engine, NULL, "x", 1, NULL));
    EXPECT(KVC_E_NULL, kvc_put(engine, &key, NULL, 1, NULL));
    EXPECT(KVC_E_NULL, kvc_put_many(engine, NULL, 1, NULL, &count));
    EXPECT(KVC_E_NULL, kvc_put_many(engine, NULL, 0, NULL, NULL));
    EXPECT(KVC_E_NULL, kvc_remove(engine, NULL, 1, &count));
    EXPECT(KVC_E_NULL, kvc_remove(engine, &key, 1, NULL));
    EXPECT(KVC_E_NULL, kvc_touch(engine, NULL, 1, &count));
    EXPECT(KVC_E_NULL, kvc_touch(engine, &key, 1, NULL));
    EXPECT(KVC_E_NULL, kvc_retain(engine, NULL, 1, 0, 0, 0, &count));
    EXPECT(KVC_E_NULL, kvc_retain(engine, &key, 1, 0, 0, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_namespace_clear(engine, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_lane_open(engine, NULL));
    EXPECT(KVC_E_NULL, kvc_lane_event_fd(engine, lane, NULL));
    EXPECT(KVC_E_NULL, kvc_submit(engine, lane, NULL, 1, NULL, &count));
    EXPECT(KVC_E_NULL, kvc_submit(engine, lane, &op, 1, NULL, NULL));
    EXPECT(KVC_E_NULL, kvc_submit(engine, lane, &op, 1, NULL, &count));
    EXPECT(KVC_E_NULL, kvc_reap(engine, lane, NULL, 1, &count));
    EXPECT(KVC_E_NULL, kvc_reap(engine, lane, &done, 1, NULL));
    EXPECT(KVC_E_NULL, kvc_stats_get(engine, NULL));
    EXPECT(KVC_E_NULL, kvc_capacity_get(engine, NULL));
    EXPECT(KVC_E_NULL, kvc_histogram_get(engine, 0, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_metrics_write(engine, NULL, 1, &count));
    EXPECT(KVC_E_NULL, kvc_metrics_write(engine, text, sizeof text, NULL));
    EXPECT(KVC_E_NULL, kvc_events_read(engine, NULL, &event, 1, &count, &lost));
    EXPECT(KVC_E_NULL, kvc_events_read(engine, &sequence, NULL, 1, &count, &lost));
    EXPECT(KVC_E_NULL, kvc_events_read(engine, &sequence, &event, 1, NULL, &lost));
    EXPECT(KVC_E_NULL, kvc_events_read(engine, &sequence, &event, 1, &count, NULL));
    EXPECT(KVC_E_NULL, kvc_pins_get(engine, NULL, 1, &count));
    EXPECT(KVC_E_NULL, kvc_pins_get(engine, &pin, 1, NULL));
    EXPECT(KVC_E_NULL, kvc_prefetch(engine, NULL, 1, 0, &count));
    EXPECT(KVC_E_NULL, kvc_prefetch(engine, &key, 1, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_flush(engine, 0, NULL));
    EXPECT(KVC_E_NULL, kvc_view_ready(engine, NULL, &count));
    EXPECT(KVC_E_NULL, kvc_view_ready(engine, &zeros, NULL));
    EXPECT(KVC_E_NULL, kvc_tier_get(engine, KVC_TIER_NVME, NULL));
    CHECK(count == 7);

    OK(kvc_match(engine, NULL, 0, 0, &count));
    CHECK(count == 0);
    OK(kvc_match_each(engine, NULL, 0, 0, NULL, &count));
    OK(kvc_get_many(engine, NULL, 0, 0, &count));
    OK(kvc_acquire_many(engine, NULL, 0, 0, NULL, &count));
    OK(kvc_release_many(engine, NULL, 0, NULL));
    OK(kvc_put_many(engine, NULL, 0, NULL, &count));
    OK(kvc_remove(engine, NULL, 0, &count));
    OK(kvc_touch(engine, NULL, 0, &count));
    OK(kvc_retain(engine, NULL, 0, 0, 0, 0, &count));
    OK(kvc_submit(engine, lane, NULL, 0, NULL, &count));
    OK(kvc_reap(engine, lane, NULL, 0, &count));
    OK(kvc_events_read(engine, &sequence, NULL, 0, &count, &lost));
    OK(kvc_pins_get(engine, NULL, 0, &count));
    EXPECT(KVC_E_TOO_SMALL, kvc_metrics_write(engine, NULL, 0, &count));
    EXPECT(KVC_MISS, kvc_get(engine, &key, NULL, 0, 0, &count));

    /* Counts that no array has, and pointers that no value of the type has. */
    EXPECT(KVC_E_ARGUMENT, kvc_match(engine, &key, UINT64_MAX, 0, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_match(engine, &key, (uint64_t)1 << 58, 0, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_get(engine, &key, text, UINT64_MAX, 0, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_release(engine, (kvc_view_t *)(void *)((char *)&view + 1)));
    EXPECT(KVC_E_ARGUMENT, kvc_pins_get(engine, &pin, (uint64_t)1 << 60, &count));
    EXPECT(KVC_E_UNSUPPORTED, kvc_match(engine, &key, 1, 2, &count));
    EXPECT(KVC_E_UNSUPPORTED, kvc_get(engine, &key, text, sizeof text, 4, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_get(engine, &key, text, sizeof text, KVC_COPY_HOT | KVC_COPY_COLD, &count));
    EXPECT(KVC_E_UNSUPPORTED, kvc_acquire(engine, &key, KVC_ACQUIRE_PARTIAL << 1, &view));
    EXPECT(KVC_E_UNSUPPORTED, kvc_acquire_many(engine, &key, 1, 1, &view, &count));
    EXPECT(KVC_E_UNSUPPORTED, kvc_retain(engine, &key, 1, 0, 0, 2, &count));
    OK(kvc_lane_close(engine, lane));
    OK(kvc_close(engine));
}

static void engines_many(void) {
    enum { ENGINES_COUNT_MAX = 1024 };
    static kvc_engine_t *engines[ENGINES_COUNT_MAX];
    kvc_config_t config = KVC_CONFIG_INIT;
    config.block_bytes = 64;
    config.cpu_bytes = 64;
    config.pins_count = config.stripes_count = 1;
    config.lanes_count = config.events_count = KVC_NONE;
    for (size_t i = 0; i < ENGINES_COUNT_MAX; i++) {
        engines[i] = open_with(&config);
        CHECK(i == 0 || engines[i] != engines[i - 1]);
    }
    kvc_engine_t *engine = NULL;
    EXPECT(KVC_AGAIN, kvc_engine_open(&config, &engine, NULL));
    CHECK(engine == NULL);
    for (size_t i = 0; i < ENGINES_COUNT_MAX; i++) {
        OK(kvc_close(engines[i]));
        EXPECT(KVC_E_HANDLE, kvc_close(engines[i]));
    }
}

static void memory_brought(void) {
    kvc_config_t config = config_small();
    kvc_plan_t plan = KVC_PLAN_INIT;
    OK(kvc_plan_compute(&config, &plan, NULL));
    /* Not zeroed: the library does that where it has to. */
    uint8_t *memory = aligned_alloc(plan.memory_alignment_bytes, plan.bytes + 4096);
    CHECK(memory != NULL);
    memset(memory, 0xa5, plan.bytes + 4096);
    config.memory = memory;
    config.memory_bytes = plan.bytes - 1;
    kvc_engine_t *engine = NULL;
    kvc_error_t error = KVC_ERROR_INIT;
    CHECK(kvc_engine_open(&config, &engine, &error) < 0);
    CHECK(strcmp(error.field, "memory_bytes") == 0 && error.value_min == plan.bytes);
    config.memory = memory + 64;
    config.memory_bytes = plan.bytes;
    CHECK(kvc_engine_open(&config, &engine, &error) < 0);
    CHECK(engine == NULL);

    config.memory = memory;
    for (int round = 0; round < 2; round++) {
        engine = open_with(&config);
        for (uint64_t number = 0; number < 2 * SLOTS_COUNT; number++)
            put(engine, number);
        kvc_key_t key = key_of(2 * SLOTS_COUNT - 1);
        kvc_view_t view;
        OK(kvc_acquire(engine, &key, 0, &view));
        CHECK((const uint8_t *)view.data >= memory && (const uint8_t *)view.data < memory + plan.bytes);
        CHECK(block_is(2 * SLOTS_COUNT - 1, view.data, view.bytes));
        OK(kvc_release(engine, &view));
        OK(kvc_close(engine));
    }
    for (size_t place = plan.bytes; place < plan.bytes + 4096; place++)
        CHECK(memory[place] == 0xa5);
    free(memory);
}

static void shutdown_and_close(void) {
    kvc_engine_t *engine = open_small();
    put(engine, 1);
    put(engine, 2);
    kvc_key_t key = key_of(1), other = key_of(3);
    kvc_view_t view;
    kvc_reservation_t reservation;
    kvc_lane_t lane, lane_other;
    kvc_done_t done;
    kvc_op_t op = {0};
    kvc_ticket_t ticket;
    uint64_t count;
    OK(kvc_acquire(engine, &key, 0, &view));
    EXPECT(KVC_E_BUSY, kvc_close(engine));
    OK(kvc_reserve(engine, &other, 8, NULL, &reservation));
    OK(kvc_lane_open(engine, &lane));
    op.opcode = KVC_OP_MATCH;
    op.keys = &key;
    op.keys_count = 1;
    OK(kvc_submit(engine, lane, &op, 1, &ticket, &count));
    EXPECT(KVC_E_BUSY, kvc_close(engine));
    OK(kvc_shutdown(engine));
    OK(kvc_shutdown(engine));

    kvc_reservation_t reservation_other;
    kvc_item_t item = {0};
    item.key = key_of(4);
    item.data = (void *)"x";
    item.bytes = 1;
    EXPECT(KVC_E_SHUTDOWN, kvc_reserve(engine, &item.key, 8, NULL, &reservation_other));
    EXPECT(KVC_E_SHUTDOWN, kvc_put(engine, &item.key, "x", 1, NULL));
    EXPECT(KVC_E_SHUTDOWN, kvc_lane_open(engine, &lane_other));
    EXPECT(KVC_E_SHUTDOWN, kvc_submit(engine, lane, &op, 1, &ticket, &count));
    OK(kvc_put_many(engine, &item, 1, NULL, &count));
    CHECK(count == 0 && item.status == KVC_E_SHUTDOWN);

    /* Everything can be wound up. */
    CHECK(resident(engine, 2) == 1);
    OK(kvc_reap(engine, lane, &done, 1, &count));
    CHECK(count == 1 && done.status == KVC_OK && done.result == 1);
    OK(kvc_lane_close(engine, lane));
    OK(kvc_release(engine, &view));
    EXPECT(KVC_E_BUSY, kvc_close(engine));
    OK(kvc_abort(engine, &reservation));
    OK(kvc_close(engine));
    EXPECT(KVC_E_HANDLE, kvc_close(engine));
}

static void forked(void) {
    kvc_config_t config = config_small();
    for (uint64_t workers_count = 0; workers_count < 2; workers_count++) {
        config.workers_count = workers_count;
        kvc_engine_t *engine = open_with(&config);
        put(engine, 1);
        fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            kvc_key_t key = key_of(1);
            uint64_t count = 7;
            char buffer[BLOCK_BYTES];
            EXPECT(KVC_E_FORKED, kvc_match(engine, &key, 1, 0, &count));
            EXPECT(KVC_E_FORKED, kvc_get(engine, &key, buffer, sizeof buffer, 0, &count));
            EXPECT(KVC_E_FORKED, kvc_put(engine, &key, "x", 1, NULL));
            EXPECT(KVC_E_FORKED, kvc_tick(engine, 0, NULL));
            EXPECT(KVC_E_FORKED, kvc_shutdown(engine));
            EXPECT(KVC_E_FORKED, kvc_close(engine));
            CHECK(count == 7);
            config.workers_count = 0;
            kvc_engine_t *own = open_with(&config);
            put(own, 1);
            CHECK(resident(own, 1));
            OK(kvc_close(own));
            /* Ends at once: what the parent's engine has in this process is not a leak to be reported. */
            kill(getpid(), SIGKILL);
        }
        int state;
        CHECK(waitpid(child, &state, 0) == child);
        CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL);
        CHECK(resident(engine, 1));
        OK(kvc_close(engine));
    }
}

/* ---- reading and writing */

static void put_and_get(void) {
    kvc_engine_t *engine = open_small();
    uint8_t block[BLOCK_BYTES + 1], buffer[BLOCK_BYTES];
    kvc_key_t key = key_of(1);
    uint64_t bytes = 7;
    EXPECT(KVC_MISS, kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes));
    block_fill(1, block, sizeof block);
    EXPECT(KVC_E_TOO_LARGE, kvc_put(engine, &key, block, sizeof block, NULL));
    EXPECT(KVC_E_ARGUMENT, kvc_put(engine, &key, block, 0, NULL));
    CHECK(bytes == 7 && !resident(engine, 1));
    OK(kvc_put(engine, &key, block, 100, NULL));
    EXPECT(KVC_EXISTS, kvc_put(engine, &key, block, 50, NULL));
    memset(buffer, 0x5a, sizeof buffer);
    EXPECT(KVC_E_TOO_SMALL, kvc_get(engine, &key, buffer, 99, 0, &bytes));
    EXPECT(KVC_E_TOO_SMALL, kvc_get(engine, &key, NULL, 0, 0, &bytes));
    CHECK(bytes == 7);
    for (size_t place = 0; place < sizeof buffer; place++)
        CHECK(buffer[place] == 0x5a);
    const uint32_t flags[] = {0, KVC_COPY_HOT, KVC_COPY_COLD};
    for (size_t i = 0; i < COUNT(flags); i++) {
        memset(buffer, 0x5a, sizeof buffer);
        OK(kvc_get(engine, &key, buffer, sizeof buffer, flags[i], &bytes));
        CHECK(bytes == 100 && block_is(1, buffer, 100) && buffer[100] == 0x5a);
    }

    /* What a put says: values outside their range are refused and nothing is stored. */
    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    kvc_key_t parent = key_of(1), child = key_of(2);
    info.parent = &parent;
    info.chain_index = 1;
    info.tokens_count = 16;
    info.recompute_cost_us = 1000;
    info.conversation_id = 5;
    info.namespace_id = 9;
    info.priority = 101;
    EXPECT(KVC_E_ARGUMENT, kvc_put(engine, &child, block, 10, &info));
    info.priority = 100;
    info.flags = 2;
    EXPECT(KVC_E_UNSUPPORTED, kvc_put(engine, &child, block, 10, &info));
    info.flags = KVC_PUT_PROTECTED;
    info.geometry_id = 1;
    EXPECT(KVC_E_ARGUMENT, kvc_put(engine, &child, block, 10, &info));
    info.geometry_id = 0;
    info.namespace_id = UINT64_MAX;
    info.expiry_ms = UINT64_MAX;
    EXPECT(KVC_E_ARGUMENT, kvc_put(engine, &child, block, 10, &info));
    info.expiry_ms = 1000;
    CHECK(!resident(engine, 2));
    OK(kvc_put(engine, &child, block, 10, &info));
    CHECK(resident(engine, 2));
    OK(kvc_close(engine));
}

static void reserve_and_commit(void) {
    kvc_engine_t *engine = open_small();
    kvc_key_t key = key_of(1);
    kvc_reservation_t reservation, other = {0};
    uint8_t buffer[BLOCK_BYTES];
    uint64_t bytes;
    EXPECT(KVC_E_ARGUMENT, kvc_reserve(engine, &key, 0, NULL, &reservation));
    EXPECT(KVC_E_TOO_LARGE, kvc_reserve(engine, &key, BLOCK_BYTES + 1, NULL, &reservation));
    OK(kvc_reserve(engine, &key, 200, NULL, &reservation));
    CHECK(reservation.bytes == 200 && reservation.data != NULL && (uintptr_t)reservation.data % 64 == 0);

    /* Nothing is readable before commit, and nobody else may produce it. */
    EXPECT(KVC_PENDING, kvc_reserve(engine, &key, 200, NULL, &other));
    EXPECT(KVC_PENDING, kvc_put(engine, &key, "x", 1, NULL));
    CHECK(other.data == NULL && !resident(engine, 1));
    EXPECT(KVC_MISS, kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes));
    block_fill(1, reservation.data, 200);
    EXPECT(KVC_E_TOO_LARGE, kvc_commit(engine, &reservation, 201));
    OK(kvc_commit(engine, &reservation, 150));
    EXPECT(KVC_E_STALE, kvc_commit(engine, &reservation, 150));
    EXPECT(KVC_E_STALE, kvc_abort(engine, &reservation));
    EXPECT(KVC_EXISTS, kvc_reserve(engine, &key, 200, NULL, &other));
    OK(kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes));
    CHECK(bytes == 150 && block_is(1, buffer, 150));

    key = key_of(2);
    OK(kvc_reserve(engine, &key, 10, NULL, &reservation));
    OK(kvc_abort(engine, &reservation));
    EXPECT(KVC_E_STALE, kvc_abort(engine, &reservation));
    EXPECT(KVC_E_STALE, kvc_commit(engine, &reservation, 0));
    CHECK(!resident(engine, 2));
    OK(kvc_reserve(engine, &key, 10, NULL, &reservation));
    block_fill(2, reservation.data, 10);
    OK(kvc_commit(engine, &reservation, 0));
    OK(kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes));
    CHECK(bytes == 10 && block_is(2, buffer, 10));

    /* Made up. */
    memset(&other, 0, sizeof other);
    EXPECT(KVC_E_STALE, kvc_commit(engine, &other, 0));
    memset(&other, 0xff, sizeof other);
    EXPECT(KVC_E_STALE, kvc_commit(engine, &other, 0));
    EXPECT(KVC_E_STALE, kvc_abort(engine, &other));

    /* Reservations fill the tier: then nothing can be evicted. */
    kvc_reservation_t all[SLOTS_COUNT];
    for (uint64_t number = 0; number < SLOTS_COUNT; number++) {
        key = key_of(100 + number);
        OK(kvc_reserve(engine, &key, 1, NULL, &all[number]));
    }
    key = key_of(99);
    EXPECT(KVC_AGAIN, kvc_put(engine, &key, "x", 1, NULL));
    EXPECT(KVC_AGAIN, kvc_reserve(engine, &key, 1, NULL, &other));
    EXPECT(KVC_E_BUSY, kvc_close(engine));
    for (uint64_t number = 0; number < SLOTS_COUNT; number++)
        OK(kvc_abort(engine, &all[number]));
    OK(kvc_put(engine, &key, "x", 1, NULL));
    OK(kvc_close(engine));
}

static void acquire_and_release(void) {
    kvc_engine_t *engine = open_small();
    kvc_key_t keys[40];
    kvc_view_t views[40], view;
    uint64_t count;
    for (uint64_t number = 0; number < 40; number++) {
        keys[number] = key_of(number);
        if (number != 20)
            put(engine, number);
    }
    EXPECT(KVC_MISS, kvc_acquire(engine, &keys[20], 0, &view));
    OK(kvc_acquire(engine, &keys[0], 0, &view));
    CHECK(view.bytes == BLOCK_BYTES && block_is(0, view.data, view.bytes) && (uintptr_t)view.data % 64 == 0);
    kvc_view_t copy = view;
    OK(kvc_release(engine, &view));
    EXPECT(KVC_E_STALE, kvc_release(engine, &view));
    EXPECT(KVC_E_STALE, kvc_release(engine, &copy));
    memset(&view, 0, sizeof view);
    EXPECT(KVC_E_STALE, kvc_release(engine, &view));
    memset(&view, 0xff, sizeof view);
    EXPECT(KVC_E_STALE, kvc_release(engine, &view));

    /* Views of one block by several callers are several pins. */
    OK(kvc_acquire(engine, &keys[0], 0, &view));
    OK(kvc_acquire(engine, &keys[0], 0, &copy));
    OK(kvc_release(engine, &view));
    CHECK(block_is(0, copy.data, copy.bytes));
    OK(kvc_release(engine, &copy));

    /* The longest prefix: 20 is not there. */
    memset(views, 0, sizeof views);
    OK(kvc_acquire_many(engine, keys, 40, 0, views, &count));
    CHECK(count == 20 && views[20].data == NULL);
    for (uint64_t number = 0; number < count; number++)
        CHECK(block_is(number, views[number].data, views[number].bytes));

    /* Held blocks stay through any number of puts. */
    for (uint64_t number = 1000; number < 1000 + 3 * SLOTS_COUNT; number++)
        put(engine, number);
    for (uint64_t number = 0; number < count; number++)
        CHECK(block_is(number, views[number].data, views[number].bytes) && resident(engine, number));
    CHECK(!resident(engine, 21));

    /* A held block that is removed is not found any more, and its bytes stay until the release. */
    uint64_t removed;
    OK(kvc_remove(engine, keys, 20, &removed));
    CHECK(removed == 20 && !resident(engine, 3));
    put(engine, 3);
    CHECK(block_is(3, views[3].data, views[3].bytes));
    OK(kvc_release(engine, &views[5]));
    OK(kvc_release_many(engine, views, count, &removed));
    CHECK(removed == 19);
    OK(kvc_release_many(engine, views, count, &removed));
    CHECK(removed == 0);
    OK(kvc_release_many(engine, views, count, NULL));

    /* Everything held: the pins run out before the blocks do, and then the tier is full of held blocks. */
    kvc_stats_t stats = KVC_STATS_INIT;
    kvc_view_t held[1024];
    uint64_t held_count = 0;
    for (kvc_status_t status = KVC_OK; status == KVC_OK; held_count += status == KVC_OK) {
        CHECK(held_count < COUNT(held));
        status = kvc_acquire(engine, &keys[3], 0, &held[held_count]);
        CHECK(status == KVC_OK || status == KVC_AGAIN);
    }
    CHECK(held_count >= 32);
    OK(kvc_acquire_many(engine, &keys[3], 1, 0, views, &count));
    CHECK(count == 0);
    OK(kvc_stats_get(engine, &stats));
    CHECK(stats.pins_in_use == held_count && stats.refusals >= 1);
    /* A copy does not need one of those pins. */
    uint8_t buffer[BLOCK_BYTES];
    OK(kvc_get(engine, &keys[3], buffer, sizeof buffer, 0, &count));
    CHECK(block_is(3, buffer, BLOCK_BYTES));
    OK(kvc_release_many(engine, held, held_count, &removed));
    CHECK(removed == held_count);
    OK(kvc_close(engine));
}

/* What file tiers would do, where there is none. */
static void without_files(void) {
    kvc_engine_t *engine = open_small();
    kvc_key_t key = key_of(1), missing = key_of(2);
    kvc_view_t view;
    kvc_tier_t tier = KVC_TIER_INIT;
    uint64_t count = 7;
    put(engine, 1);
    EXPECT(KVC_E_UNSUPPORTED, kvc_flush(engine, UINT64_MAX, &count));
    EXPECT(KVC_E_NO_DEVICE, kvc_tier_get(engine, KVC_TIER_DISK, &tier));
    EXPECT(KVC_E_UNSUPPORTED, kvc_prefetch(engine, &key, 1, 1, &count));
    CHECK(count == 7);
    OK(kvc_prefetch(engine, &key, 1, 0, &count));
    CHECK(count == 0);

    EXPECT(KVC_MISS, kvc_acquire(engine, &missing, KVC_ACQUIRE_PARTIAL, &view));
    EXPECT(KVC_E_UNSUPPORTED, kvc_acquire(engine, &key, KVC_ACQUIRE_PARTIAL << 1, &view));
    OK(kvc_acquire(engine, &key, KVC_ACQUIRE_PARTIAL, &view));
    OK(kvc_view_ready(engine, &view, &count));
    CHECK(count == BLOCK_BYTES && block_is(1, view.data, BLOCK_BYTES));
    /* Held, it is there even when it was removed. */
    OK(kvc_remove(engine, &key, 1, &count));
    OK(kvc_view_ready(engine, &view, &count));
    OK(kvc_release(engine, &view));
    EXPECT(KVC_E_STALE, kvc_view_ready(engine, &view, &count));
    OK(kvc_close(engine));
}

static void everything_pinned(void) {
    kvc_config_t config = config_small();
    config.pins_count = 2 * SLOTS_COUNT;
    kvc_engine_t *engine = open_with(&config);
    kvc_view_t views[SLOTS_COUNT];
    for (uint64_t number = 0; number < SLOTS_COUNT; number++) {
        put(engine, number);
        kvc_key_t key = key_of(number);
        OK(kvc_acquire(engine, &key, 0, &views[number]));
    }
    kvc_key_t key = key_of(SLOTS_COUNT);
    kvc_item_t items[3];
    memset(items, 0, sizeof items);
    for (uint64_t i = 0; i < COUNT(items); i++) {
        items[i].key = key_of(i == 0 ? 5 : SLOTS_COUNT + i);
        items[i].data = (void *)"x";
        items[i].bytes = 1;
    }
    uint64_t count = 7;
    EXPECT(KVC_AGAIN, kvc_put(engine, &key, "x", 1, NULL));
    OK(kvc_put_many(engine, items, COUNT(items), NULL, &count));
    CHECK(count == 0 && items[0].status == KVC_EXISTS);
    CHECK(items[1].status == KVC_AGAIN && items[2].status == KVC_CANCELLED);
    OK(kvc_release(engine, &views[0]));
    OK(kvc_put(engine, &key, "x", 1, NULL));
    CHECK(!resident(engine, 0) && resident(engine, 1));
    EXPECT(KVC_E_STALE, kvc_release(engine, &views[0]));
    for (uint64_t number = 1; number < SLOTS_COUNT; number++) {
        CHECK(block_is(number, views[number].data, views[number].bytes));
        OK(kvc_release(engine, &views[number]));
    }
    OK(kvc_close(engine));
}

static void batches(void) {
    kvc_engine_t *engine = open_small();
    enum { ITEMS_COUNT = 8 };
    static uint8_t buffers[ITEMS_COUNT][BLOCK_BYTES];
    kvc_item_t items[ITEMS_COUNT];
    uint64_t count = 7;
    memset(items, 0, sizeof items);
    for (uint64_t i = 0; i < ITEMS_COUNT; i++) {
        block_fill(i, buffers[i], BLOCK_BYTES);
        items[i].key = key_of(i);
        items[i].data = buffers[i];
        items[i].bytes = 100 + i;
    }
    put(engine, 2);
    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    info.priority = 101;
    EXPECT(KVC_E_ARGUMENT, kvc_put_many(engine, items, ITEMS_COUNT, &info, &count));
    CHECK(count == 7 && items[0].status == 0);
    info.priority = 1;
    info.conversation_id = 4;
    items[6].bytes = BLOCK_BYTES + 1;
    OK(kvc_put_many(engine, items, ITEMS_COUNT, &info, &count));
    CHECK(count == 5);
    for (uint64_t i = 0; i < ITEMS_COUNT; i++) {
        kvc_status_t expected = i == 2 ? KVC_EXISTS : i == 6 ? KVC_E_TOO_LARGE : i == 7 ? KVC_CANCELLED : KVC_OK;
        CHECK(items[i].status == expected && items[i].bytes_out == (expected == KVC_OK ? 100 + i : 0));
    }
    CHECK(!resident(engine, 6) && !resident(engine, 7));

    memset(buffers, 0, sizeof buffers);
    for (uint64_t i = 0; i < ITEMS_COUNT; i++)
        items[i].bytes = BLOCK_BYTES;
    items[0].bytes = 10;
    items[1].data = NULL;
    items[3].flags = 1;
    OK(kvc_get_many(engine, items, ITEMS_COUNT, KVC_COPY_COLD, &count));
    CHECK(count == 3);
    CHECK(items[0].status == KVC_E_TOO_SMALL && items[1].status == KVC_E_NULL && items[3].status == KVC_E_UNSUPPORTED);
    CHECK(items[2].status == KVC_OK && items[2].bytes_out == BLOCK_BYTES && block_is(2, buffers[2], BLOCK_BYTES));
    CHECK(items[5].status == KVC_OK && items[5].bytes_out == 105 && block_is(5, buffers[5], 105));
    CHECK(items[6].status == KVC_MISS && items[6].bytes_out == 0 && items[7].status == KVC_MISS);

    kvc_key_t keys[ITEMS_COUNT];
    uint8_t tiers[ITEMS_COUNT];
    for (uint64_t i = 0; i < ITEMS_COUNT; i++)
        keys[i] = key_of(i == 3 ? 1000 : i);
    OK(kvc_match(engine, keys, ITEMS_COUNT, KVC_MATCH_TOUCH, &count));
    CHECK(count == 3);
    OK(kvc_match_each(engine, keys, ITEMS_COUNT, 0, tiers, &count));
    CHECK(count == 5);
    for (uint64_t i = 0; i < ITEMS_COUNT; i++)
        CHECK(tiers[i] == (i == 3 || i >= 6 ? 0 : 1 << KVC_TIER_CPU));
    OK(kvc_close(engine));
}

static void keeping(void) {
    kvc_engine_t *engine = open_small();
    kvc_key_t keys[SLOTS_COUNT];
    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    uint64_t count;
    for (uint64_t number = 0; number < SLOTS_COUNT; number++) {
        keys[number] = key_of(number);
        info.namespace_id = number % 4;
        OK(kvc_put(engine, &keys[number], "x", 1, &info));
    }
    /* What is retained outlives what is not; what is protected outlives what is only retained. */
    OK(kvc_retain(engine, keys, 8, 50, 0, 0, &count));
    CHECK(count == 8);
    OK(kvc_retain(engine, &keys[8], 4, 0, 0, KVC_RETAIN_PROTECTED, &count));
    CHECK(count == 4);
    EXPECT(KVC_E_ARGUMENT, kvc_retain(engine, keys, 8, 101, 0, 0, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_retain(engine, keys, 8, 0, UINT64_MAX, 0, &count));
    OK(kvc_touch(engine, keys, SLOTS_COUNT, &count));
    CHECK(count == SLOTS_COUNT);
    for (uint64_t number = 1000; number < 1000 + SLOTS_COUNT - 12; number++)
        put(engine, number);
    for (uint64_t number = 0; number < SLOTS_COUNT; number++)
        CHECK(resident(engine, number) == (number < 12));
    kvc_stats_t stats = KVC_STATS_INIT;
    OK(kvc_stats_get(engine, &stats));
    CHECK(stats.evictions + stats.evictions_swept == SLOTS_COUNT - 12 && stats.touches == SLOTS_COUNT);

    OK(kvc_namespace_clear(engine, 2, &count));
    CHECK(count == 3);
    OK(kvc_namespace_clear(engine, 2, &count));
    CHECK(count == 0);
    CHECK(!resident(engine, 2) && !resident(engine, 10) && resident(engine, 3));
    count = 7;
    OK(kvc_namespace_clear(engine, ((uint64_t)1 << 32) + 3, &count));
    CHECK(count == 0 && resident(engine, 3));
    OK(kvc_remove(engine, keys, 4, &count));
    CHECK(count == 3);
    OK(kvc_touch(engine, keys, 4, &count));
    CHECK(count == 0);
    OK(kvc_retain(engine, keys, 4, 1, 1, 0, &count));
    CHECK(count == 0);
    OK(kvc_close(engine));
}

static void policies(void) {
    kvc_config_t config = config_small();
    for (config.policy = KVC_POLICY_LRU; config.policy <= KVC_POLICY_ADAPTIVE; config.policy++) {
        kvc_engine_t *engine = open_with(&config);
        uint8_t buffer[BLOCK_BYTES];
        for (uint64_t number = 0; number < 10 * SLOTS_COUNT; number++) {
            put(engine, number);
            kvc_key_t key = key_of(number / 2);
            uint64_t bytes;
            kvc_status_t status = kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes);
            CHECK(status == KVC_OK || status == KVC_MISS);
            CHECK(status == KVC_MISS || (bytes == BLOCK_BYTES && block_is(number / 2, buffer, bytes)));
        }
        kvc_stats_t stats = KVC_STATS_INIT;
        OK(kvc_stats_get(engine, &stats));
        CHECK(stats.blocks_resident <= SLOTS_COUNT && stats.commits == 10 * SLOTS_COUNT);
        CHECK(stats.slots_free + stats.blocks_resident == stats.slots_count);
        OK(kvc_close(engine));
    }
}

static void importance(void) {
    kvc_config_t config = config_small();
    config.policy = KVC_POLICY_IMPORTANCE;
    kvc_engine_t *engine = open_with(&config);
    EXPECT(KVC_E_UNSUPPORTED, kvc_importance_begin(engine));
    EXPECT(KVC_E_UNSUPPORTED, kvc_importance_swap(engine));
    OK(kvc_close(engine));

    config.importance_count = SLOTS_COUNT;
    engine = open_with(&config);
    kvc_key_t keys[SLOTS_COUNT + 1];
    uint32_t importances[SLOTS_COUNT + 1];
    EXPECT(KVC_E_STALE, kvc_importance_set(engine, keys, importances, 0));
    EXPECT(KVC_E_STALE, kvc_importance_swap(engine));
    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    for (uint64_t number = 0; number <= SLOTS_COUNT; number++) {
        keys[number] = key_of(number);
        importances[number] = 1000 - (uint32_t)number;
    }
    info.importance = (uint64_t)UINT32_MAX + 1;
    EXPECT(KVC_E_ARGUMENT, kvc_put(engine, &keys[0], "x", 1, &info));
    /* By the puts alone: the first is worth least. */
    for (uint64_t number = 0; number <= SLOTS_COUNT; number++) {
        info.importance = number;
        OK(kvc_put(engine, &keys[number], "x", 1, &info));
    }
    CHECK(!resident(engine, 0) && resident(engine, 1));
    /* By the table, once it is swapped in: the last is worth least. */
    OK(kvc_importance_begin(engine));
    EXPECT(KVC_E_NULL, kvc_importance_set(engine, keys, NULL, 1));
    EXPECT(KVC_E_NULL, kvc_importance_set(engine, NULL, importances, 1));
    OK(kvc_importance_set(engine, &keys[1], &importances[1], SLOTS_COUNT));
    EXPECT(KVC_E_TOO_LARGE, kvc_importance_set(engine, keys, importances, 1));
    info.importance = UINT32_MAX;
    kvc_key_t other = key_of(1000);
    OK(kvc_put(engine, &other, "x", 1, &info));
    CHECK(!resident(engine, 1) && resident(engine, SLOTS_COUNT));
    OK(kvc_importance_swap(engine));
    EXPECT(KVC_E_STALE, kvc_importance_swap(engine));
    OK(kvc_put(engine, &keys[1], "x", 1, &info));
    CHECK(!resident(engine, SLOTS_COUNT) && resident(engine, 2) && resident(engine, 1000));
    OK(kvc_close(engine));
}

/* ---- two keys, the same bytes */

static kvc_stats_t stats_of(kvc_engine_t *engine) {
    kvc_stats_t stats = KVC_STATS_INIT;
    OK(kvc_stats_get(engine, &stats));
    return stats;
}

/* Puts the same bytes under two keys, once in one step and once in two. */
static void put_twice(kvc_engine_t *engine, const uint8_t block[BLOCK_BYTES]) {
    kvc_key_t first = key_of(1), second = key_of(2);
    kvc_reservation_t reservation;
    OK(kvc_put(engine, &first, block, BLOCK_BYTES, NULL));
    OK(kvc_reserve(engine, &second, BLOCK_BYTES, NULL, &reservation));
    memcpy(reservation.data, block, BLOCK_BYTES);
    OK(kvc_commit(engine, &reservation, 0));
}

static void reads(kvc_engine_t *engine, uint64_t number, const uint8_t block[BLOCK_BYTES]) {
    uint8_t found[BLOCK_BYTES] = {0};
    kvc_key_t key = key_of(number);
    uint64_t bytes = 0;
    OK(kvc_get(engine, &key, found, sizeof found, 0, &bytes));
    CHECK(bytes == BLOCK_BYTES && memcmp(found, block, BLOCK_BYTES) == 0);
}

static void dedup(void) {
    kvc_config_t config = config_small();
    uint8_t block[BLOCK_BYTES];
    block_fill(77, block, sizeof block);

    /* By itself nothing is shared. */
    kvc_engine_t *engine = open_with(&config);
    put_twice(engine, block);
    CHECK(stats_of(engine).dedup_hits == 0 && stats_of(engine).dedup_bytes_saved == 0);
    CHECK(stats_of(engine).slots_free == SLOTS_COUNT - 2);
    OK(kvc_close(engine));

    config.dedup = 1;
    engine = open_with(&config);
    put_twice(engine, block);
    kvc_stats_t stats = stats_of(engine);
    CHECK(stats.dedup_hits == 1 && stats.dedup_bytes_saved == BLOCK_BYTES && stats.dedup_collisions == 0);
    CHECK(stats.blocks_resident == 2 && stats.slots_free == SLOTS_COUNT - 1);
    reads(engine, 1, block);
    reads(engine, 2, block);

    /* Bytes that differ in the last place are others. */
    kvc_key_t third = key_of(3);
    uint8_t other[BLOCK_BYTES];
    memcpy(other, block, sizeof other);
    other[BLOCK_BYTES - 1] ^= 1;
    OK(kvc_put(engine, &third, other, sizeof other, NULL));
    CHECK(stats_of(engine).dedup_hits == 1);
    reads(engine, 3, other);

    kvc_key_t first = key_of(1);
    uint64_t count = 0;
    OK(kvc_remove(engine, &first, 1, &count));
    CHECK(count == 1 && !resident(engine, 1));
    stats = stats_of(engine);
    CHECK(stats.dedup_bytes_saved == 0 && stats.slots_free == SLOTS_COUNT - 2);
    reads(engine, 2, block);
    kvc_key_t second = key_of(2);
    OK(kvc_remove(engine, &second, 1, &count));
    CHECK(stats_of(engine).slots_free == SLOTS_COUNT - 1);
    OK(kvc_close(engine));
}

/* ---- keys */

static void keys(void) {
    kvc_key_t key, other, root, chain[4];
    const uint32_t tokens[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    uint64_t count = 7;
    OK(kvc_key_derive(0, NULL, 0, "hello", 5, &key));
    OK(kvc_key_derive(0, NULL, 0, "hello", 5, &other));
    CHECK(memcmp(&key, &other, sizeof key) == 0);
    OK(kvc_key_derive(1, NULL, 0, "hello", 5, &other));
    CHECK(memcmp(&key, &other, sizeof key) != 0);
    OK(kvc_key_derive(0, "h", 1, "ello", 4, &other));
    CHECK(memcmp(&key, &other, sizeof key) != 0);
    EXPECT(KVC_E_NULL, kvc_key_derive(0, NULL, 1, "hello", 5, &key));
    EXPECT(KVC_E_NULL, kvc_key_derive(0, NULL, 0, NULL, 5, &key));
    EXPECT(KVC_E_NULL, kvc_key_derive(0, NULL, 0, "hello", 5, NULL));

    OK(kvc_key_chain_root(3, "salt", 4, &root));
    EXPECT(KVC_E_NULL, kvc_key_chain_root(3, "salt", 4, NULL));
    OK(kvc_key_chain_many(&root, tokens, 10, 4, chain, 4, &count));
    CHECK(count == 2);
    OK(kvc_key_chain(&root, tokens, 4, &key));
    CHECK(memcmp(&key, &chain[0], sizeof key) == 0);
    OK(kvc_key_chain(&key, tokens + 4, 4, &key));
    CHECK(memcmp(&key, &chain[1], sizeof key) == 0);

    EXPECT(KVC_E_TOO_SMALL, kvc_key_chain_many(&root, tokens, 10, 2, chain, 4, &count));
    EXPECT(KVC_E_ARGUMENT, kvc_key_chain_many(&root, tokens, 10, 0, chain, 4, &count));
    EXPECT(KVC_E_NULL, kvc_key_chain_many(NULL, tokens, 10, 4, chain, 4, &count));
    EXPECT(KVC_E_NULL, kvc_key_chain_many(&root, NULL, 10, 4, chain, 4, &count));
    EXPECT(KVC_E_NULL, kvc_key_chain_many(&root, tokens, 10, 4, NULL, 4, &count));
    EXPECT(KVC_E_NULL, kvc_key_chain_many(&root, tokens, 10, 4, chain, 4, NULL));
    EXPECT(KVC_E_NULL, kvc_key_chain(NULL, tokens, 4, &key));
    EXPECT(KVC_E_NULL, kvc_key_chain(&root, NULL, 4, &key));
    EXPECT(KVC_E_NULL, kvc_key_chain(&root, tokens, 4, NULL));
    EXPECT(KVC_E_ARGUMENT, kvc_key_chain(&root, (const uint32_t *)(const void *)((const char *)tokens + 1), 4, &key));
    EXPECT(KVC_E_ARGUMENT, kvc_key_chain(&root, tokens, UINT64_MAX / 2, &key));
    OK(kvc_key_chain_many(&root, NULL, 0, 4, NULL, 0, &count));
    CHECK(count == 0);
}

/* ---- lanes */

static kvc_op_t operation(uint32_t opcode, const kvc_key_t *keys, uint64_t keys_count, void *data, uint64_t bytes,
                          uint64_t user_data) {
    kvc_op_t op;
    memset(&op, 0, sizeof op);
    op.opcode = opcode;
    op.keys = keys;
    op.keys_count = keys_count;
    op.data = data;
    op.bytes = bytes;
    op.user_data = user_data;
    return op;
}

static void lanes_by_tick(void) {
    kvc_engine_t *engine = open_small();
    kvc_lane_t lane, other, third;
    kvc_key_t keys[4];
    kvc_ticket_t tickets[8];
    kvc_done_t done[32];
    kvc_view_t views[4];
    static uint8_t source[4][BLOCK_BYTES], target[4][BLOCK_BYTES];
    uint64_t count = 7, progress;
    for (uint64_t number = 0; number < 4; number++) {
        keys[number] = key_of(number);
        block_fill(number, source[number], BLOCK_BYTES);
    }
    OK(kvc_lane_open(engine, &lane));
    OK(kvc_lane_open(engine, &other));
    EXPECT(KVC_AGAIN, kvc_lane_open(engine, &third));
    OK(kvc_lane_close(engine, other));
    EXPECT(KVC_E_STALE, kvc_lane_close(engine, other));
    EXPECT(KVC_E_STALE, kvc_submit(engine, other, NULL, 0, NULL, &count));
    EXPECT(KVC_E_STALE, kvc_reap(engine, other, done, 1, &count));
    OK(kvc_lane_open(engine, &third));
    CHECK(third.index != other.index || third.generation != other.generation);
    OK(kvc_lane_close(engine, third));

    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    info.priority = 3;
    kvc_op_t ops[7];
    ops[0] = operation(KVC_OP_PUT, keys, 4, source, BLOCK_BYTES, 100);
    ops[0].info = &info;
    ops[1] = operation(KVC_OP_MATCH, keys, 4, NULL, 0, 101);
    ops[2] = operation(KVC_OP_GET, keys, 4, target, BLOCK_BYTES, 102);
    ops[3] = operation(KVC_OP_TOUCH, keys, 4, NULL, 0, 103);
    ops[4] = operation(KVC_OP_ACQUIRE, keys, 4, views, sizeof views, 104);
    ops[5] = operation(KVC_OP_REMOVE, keys, 2, NULL, 0, 105);
    ops[6] = operation(KVC_OP_GET, &keys[3], 1, target[0], BLOCK_BYTES, 106);
    OK(kvc_submit(engine, lane, ops, 7, tickets, &count));
    CHECK(count == 7);
    /* Copied at submission: what was submitted may change. */
    memset(&info, 0xff, sizeof info);
    memset(ops, 0xff, sizeof ops);
    EXPECT(KVC_E_BUSY, kvc_lane_close(engine, lane));
    OK(kvc_tick(engine, 0, &progress));
    CHECK(progress >= 7);
    OK(kvc_reap(engine, lane, done, 3, &count));
    CHECK(count == 3);
    OK(kvc_reap(engine, lane, &done[3], 29, &count));
    CHECK(count == 4);
    const uint64_t results[] = {4, 4, 4, 4, 4, 2, BLOCK_BYTES};
    for (uint64_t i = 0; i < 7; i++) {
        CHECK(done[i].user_data == 100 + i && done[i].status == KVC_OK && done[i].result == results[i]);
        CHECK(done[i].ticket.index == tickets[i].index && done[i].ticket.generation == tickets[i].generation);
        EXPECT(KVC_E_STALE, kvc_wait(engine, lane, tickets[i], 0, &done[0]));
        EXPECT(KVC_E_STALE, kvc_cancel(engine, lane, tickets[i]));
    }
    CHECK(done[0].opcode == KVC_OP_PUT && done[6].opcode == KVC_OP_GET);
    CHECK(block_is(3, target[0], BLOCK_BYTES));
    for (uint64_t number = 0; number < 4; number++) {
        CHECK(number == 0 || block_is(number, target[number], BLOCK_BYTES));
        CHECK(block_is(number, views[number].data, views[number].bytes));
        OK(kvc_release(engine, &views[number]));
    }

    /* Wait fetches one completion, out of turn; the others come by reap. */
    ops[0] = operation(KVC_OP_MATCH, keys, 4, NULL, 0, 1);
    ops[1] = operation(KVC_OP_GET, keys, 1, target, BLOCK_BYTES, 2);
    ops[2] = operation(KVC_OP_MATCH, &keys[2], 2, NULL, 0, 3);
    OK(kvc_submit(engine, lane, ops, 3, tickets, &count));
    OK(kvc_wait(engine, lane, tickets[1], 0, &done[0]));
    CHECK(done[0].user_data == 2 && done[0].status == KVC_MISS && done[0].result == 0);
    OK(kvc_wait(engine, lane, tickets[0], UINT64_MAX, NULL));
    EXPECT(KVC_E_STALE, kvc_wait(engine, lane, tickets[0], 0, NULL));
    OK(kvc_reap(engine, lane, done, 32, &count));
    CHECK(count == 1 && done[0].user_data == 3 && done[0].result == 2);

    /* Cancel. */
    OK(kvc_submit(engine, lane, ops, 2, tickets, &count));
    OK(kvc_cancel(engine, lane, tickets[1]));
    OK(kvc_reap(engine, lane, done, 32, &count));
    CHECK(count == 2 && done[0].status == KVC_OK && done[1].status == KVC_CANCELLED && done[1].user_data == 2);
    EXPECT(KVC_E_STALE, kvc_cancel(engine, lane, tickets[1]));
    kvc_ticket_t made_up = {999, 999};
    EXPECT(KVC_E_STALE, kvc_cancel(engine, lane, made_up));
    EXPECT(KVC_E_STALE, kvc_wait(engine, lane, made_up, 0, NULL));
    made_up.index = made_up.generation = UINT32_MAX;
    EXPECT(KVC_E_STALE, kvc_wait(engine, lane, made_up, 0, NULL));

    /* A full lane takes what there is room for, then nothing. */
    kvc_op_t many[20];
    for (uint64_t i = 0; i < COUNT(many); i++)
        many[i] = operation(KVC_OP_MATCH, keys, 4, NULL, 0, i);
    OK(kvc_submit(engine, lane, many, COUNT(many), NULL, &count));
    CHECK(count == 16);
    EXPECT(KVC_AGAIN, kvc_submit(engine, lane, &many[16], 4, NULL, &count));
    OK(kvc_reap(engine, lane, done, 32, &count));
    CHECK(count == 16 && done[15].user_data == 15);

    /* A wrong operation ends the batch; alone it says what is wrong. */
    many[2].opcode = 99;
    OK(kvc_submit(engine, lane, many, 4, NULL, &count));
    CHECK(count == 2);
    count = 7;
    EXPECT(KVC_E_UNSUPPORTED, kvc_submit(engine, lane, &many[2], 2, NULL, &count));
    many[2] = many[3];
    many[2].flags = 2;
    EXPECT(KVC_E_UNSUPPORTED, kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    many[2].flags = 0;
    many[2].block.index = 1;
    EXPECT(KVC_E_UNSUPPORTED, kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    many[2] = operation(KVC_OP_GET, keys, 4, NULL, BLOCK_BYTES, 0);
    EXPECT(KVC_E_NULL, kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    many[2] = operation(KVC_OP_GET, keys, 4, target, UINT64_MAX / 2, 0);
    EXPECT(KVC_E_ARGUMENT, kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    many[2] = operation(KVC_OP_ACQUIRE, keys, 4, views, sizeof views - 1, 0);
    EXPECT(KVC_E_ARGUMENT, kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    many[2] = operation(KVC_OP_ACQUIRE, keys, 4, (char *)views + 1, sizeof views, 0);
    EXPECT(KVC_E_ARGUMENT, kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    many[2] = operation(KVC_OP_PUT, keys, 1, source, BLOCK_BYTES, 0);
    kvc_put_info_t wrong = KVC_PUT_INFO_INIT;
    wrong.priority = 101;
    many[2].info = &wrong;
    EXPECT(KVC_E_ARGUMENT, kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    CHECK(count == 7);
    OK(kvc_reap(engine, lane, done, 32, &count));
    CHECK(count == 2);

    /* The flags of a function are those of its operation. */
    many[2] = many[3];
    many[2].flags = KVC_MATCH_TOUCH;
    OK(kvc_submit(engine, lane, &many[2], 1, NULL, &count));
    OK(kvc_reap(engine, lane, done, 32, &count));
    CHECK(done[count - 1].opcode == KVC_OP_MATCH && done[count - 1].status == KVC_OK);

    /* Whoever asks for the event fd late hears of what was completed before, and of nothing that was not. */
    int32_t fd = -1;
    uint64_t signals;
    kvc_lane_t late;
    OK(kvc_lane_open(engine, &late));
    OK(kvc_lane_event_fd(engine, late, &fd));
    struct pollfd ready = {fd, POLLIN, 0};
    CHECK(poll(&ready, 1, 0) == 0);
    OK(kvc_lane_close(engine, late));
    OK(kvc_submit(engine, lane, many, 1, NULL, &count));
    OK(kvc_tick(engine, 0, NULL));
    OK(kvc_lane_event_fd(engine, lane, &fd));
    ready.fd = fd;
    CHECK(poll(&ready, 1, 5000) == 1 && read(fd, &signals, sizeof signals) == sizeof signals && signals == 1);
    OK(kvc_reap(engine, lane, done, 32, &count));
    CHECK(count == 1 && poll(&ready, 1, 0) == 0);
    EXPECT(KVC_E_STALE, kvc_lane_event_fd(engine, other, &fd));
    OK(kvc_submit(engine, lane, many, 1, NULL, &count));
    OK(kvc_tick(engine, 0, NULL));
    CHECK(poll(&ready, 1, 5000) == 1 && read(fd, &signals, sizeof signals) == sizeof signals && signals >= 1);
    OK(kvc_reap(engine, lane, done, 32, &count));
    CHECK(count == 1);
    OK(kvc_lane_close(engine, lane));
    OK(kvc_close(engine));
}

static void lanes_by_workers(void) {
    kvc_config_t config = config_small();
    config.workers_count = 2;
    config.lane_depth = 64;
    kvc_engine_t *engine = open_with(&config);
    kvc_lane_t lane;
    kvc_done_t done[64];
    uint8_t source[BLOCK_BYTES], target[BLOCK_BYTES];
    kvc_ticket_t ticket;
    uint64_t count, signals;
    int32_t fd;
    OK(kvc_lane_open(engine, &lane));
    OK(kvc_lane_event_fd(engine, lane, &fd));
    for (uint64_t number = 0; number < 3 * SLOTS_COUNT; number++) {
        kvc_key_t key = key_of(number);
        block_fill(number, source, BLOCK_BYTES);
        kvc_op_t op = operation(KVC_OP_PUT, &key, 1, source, BLOCK_BYTES, number);
        OK(kvc_submit(engine, lane, &op, 1, &ticket, &count));
        OK(kvc_wait(engine, lane, ticket, UINT64_MAX, &done[0]));
        CHECK(done[0].status == KVC_OK && done[0].user_data == number && done[0].result == 1);
        op = operation(KVC_OP_GET, &key, 1, target, BLOCK_BYTES, number);
        OK(kvc_submit(engine, lane, &op, 1, NULL, &count));
        uint64_t reaped = 0;
        while (reaped == 0) {
            struct pollfd ready = {fd, POLLIN, 0};
            CHECK(poll(&ready, 1, 10000) == 1 && read(fd, &signals, sizeof signals) == sizeof signals);
            OK(kvc_reap(engine, lane, done, COUNT(done), &reaped));
        }
        CHECK(reaped == 1 && done[0].status == KVC_OK && done[0].result == BLOCK_BYTES);
        CHECK(block_is(number, target, BLOCK_BYTES));
    }
    kvc_ticket_t never = {0, 0};
    EXPECT(KVC_E_STALE, kvc_wait(engine, lane, never, 1000, NULL));

    /* A batch at once, waited for from the last to the first. */
    kvc_key_t keys[64];
    kvc_op_t ops[64];
    kvc_ticket_t tickets[64];
    for (uint64_t i = 0; i < 64; i++) {
        keys[i] = key_of(5000 + i);
        ops[i] = operation(KVC_OP_PUT, &keys[i], 1, source, BLOCK_BYTES, i);
    }
    OK(kvc_submit(engine, lane, ops, 64, tickets, &count));
    CHECK(count == 64);
    for (uint64_t i = 64; i-- > 0;) {
        OK(kvc_wait(engine, lane, tickets[i], UINT64_MAX, &done[0]));
        CHECK(done[0].user_data == i && done[0].status == KVC_OK);
    }
    OK(kvc_submit(engine, lane, ops, 64, tickets, &count));
    OK(kvc_shutdown(engine));
    uint64_t reaped = 0;
    while (reaped < 64) {
        OK(kvc_reap(engine, lane, done, COUNT(done), &count));
        for (uint64_t i = 0; i < count; i++)
            CHECK(done[i].status == KVC_EXISTS || done[i].status == KVC_MISS || done[i].status == KVC_OK ||
                  done[i].status == KVC_E_SHUTDOWN);
        reaped += count;
    }
    OK(kvc_lane_close(engine, lane));
    OK(kvc_close(engine));
}

typedef struct {
    kvc_engine_t *engine;
    kvc_lane_t lane;
    uint64_t first;
    /* Kept until the last operation is complete, which may be after the thread has ended. */
    kvc_key_t key;
    unsigned long busy_count;
    unsigned long completed_count;
} lane_user_t;

/* A lane of its own: never busy, everything completes. */
static void *lane_owner(void *argument) {
    lane_user_t *user = argument;
    OK(kvc_lane_open(user->engine, &user->lane));
    uint8_t source[BLOCK_BYTES], target[BLOCK_BYTES];
    for (uint64_t number = user->first; number < user->first + 200; number++) {
        kvc_key_t key = key_of(number);
        kvc_done_t done[2];
        uint64_t count, reaped = 0;
        block_fill(number, source, BLOCK_BYTES);
        kvc_op_t ops[2] = {operation(KVC_OP_PUT, &key, 1, source, BLOCK_BYTES, 0),
                           operation(KVC_OP_GET, &key, 1, target, BLOCK_BYTES, 1)};
        OK(kvc_submit(user->engine, user->lane, ops, 2, NULL, &count));
        CHECK(count == 2);
        while (reaped < 2) {
            OK(kvc_reap(user->engine, user->lane, &done[reaped], 2 - reaped, &count));
            reaped += count;
            if (count == 0)
                sched_yield();
        }
        CHECK(done[0].status == KVC_OK && done[1].user_data == 1);
        CHECK(done[1].status == KVC_MISS || (done[1].status == KVC_OK && block_is(number, target, BLOCK_BYTES)));
        user->completed_count += 2;
    }
    OK(kvc_lane_close(user->engine, user->lane));
    return NULL;
}

/* A lane of both: some calls are refused, nothing is lost. */
static void *lane_sharer(void *argument) {
    lane_user_t *user = argument;
    user->key = key_of(1);
    for (unsigned long submitted = 0; submitted < 500;) {
        kvc_op_t op = operation(KVC_OP_MATCH, &user->key, 1, NULL, 0, 1);
        uint64_t count;
        kvc_status_t status = kvc_submit(user->engine, user->lane, &op, 1, NULL, &count);
        CHECK(status == KVC_OK || status == KVC_AGAIN || status == KVC_E_BUSY);
        submitted += status == KVC_OK;
        user->busy_count += status == KVC_E_BUSY;
        kvc_done_t done[8];
        status = kvc_reap(user->engine, user->lane, done, 8, &count);
        CHECK(status == KVC_OK || status == KVC_E_BUSY);
        if (status == KVC_OK)
            user->completed_count += count;
        user->busy_count += status == KVC_E_BUSY;
        if (status != KVC_OK || count == 0)
            sched_yield();
    }
    return NULL;
}

static void lanes_of_two_threads(void) {
    for (uint64_t workers_count = 0; workers_count < 2; workers_count++) {
        kvc_config_t config = config_small();
        config.workers_count = workers_count;
        kvc_engine_t *engine = open_with(&config);
        lane_user_t users[2] = {{.engine = engine, .first = 0}, {.engine = engine, .first = 1000}};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            CHECK(pthread_create(&threads[i], NULL, lane_owner, &users[i]) == 0);
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(users[0].completed_count == 400 && users[1].completed_count == 400);

        kvc_lane_t lane;
        OK(kvc_lane_open(engine, &lane));
        users[0].completed_count = users[1].completed_count = 0;
        for (int i = 0; i < 2; i++) {
            users[i].lane = lane;
            CHECK(pthread_create(&threads[i], NULL, lane_sharer, &users[i]) == 0);
        }
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        uint64_t reaped = users[0].completed_count + users[1].completed_count, count;
        while (reaped < 1000) {
            kvc_done_t done[8];
            OK(kvc_reap(engine, lane, done, 8, &count));
            reaped += count;
        }
        CHECK(reaped == 1000);
        OK(kvc_lane_close(engine, lane));
        OK(kvc_close(engine));
    }
}

/* ---- threads */

typedef struct {
    kvc_engine_t *engine;
    uint64_t seed;
} worker_t;

static void *hammer(void *argument) {
    worker_t *worker = argument;
    uint64_t state = worker->seed;
    for (int round = 0; round < 4000; round++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t number = (state >> 33) % (2 * SLOTS_COUNT), bytes;
        kvc_key_t key = key_of(number);
        uint8_t buffer[BLOCK_BYTES];
        kvc_view_t view;
        kvc_reservation_t reservation;
        kvc_status_t status;
        switch ((state >> 60) % 5) {
        case 0:
            status = kvc_get(worker->engine, &key, buffer, sizeof buffer, 0, &bytes);
            CHECK(status == KVC_OK || status == KVC_MISS || status == KVC_PENDING);
            CHECK(status != KVC_OK || (bytes == BLOCK_BYTES && block_is(number, buffer, bytes)));
            break;
        case 1:
            status = kvc_acquire(worker->engine, &key, 0, &view);
            CHECK(status == KVC_OK || status == KVC_MISS || status == KVC_PENDING);
            if (status == KVC_OK) {
                CHECK(view.bytes == BLOCK_BYTES && block_is(number, view.data, view.bytes));
                OK(kvc_release(worker->engine, &view));
            }
            break;
        case 2:
            status = kvc_reserve(worker->engine, &key, BLOCK_BYTES, NULL, &reservation);
            CHECK(status == KVC_OK || status == KVC_EXISTS || status == KVC_PENDING || status == KVC_AGAIN);
            if (status == KVC_OK) {
                block_fill(number, reservation.data, BLOCK_BYTES);
                OK(state & 1 << 20 ? kvc_commit(worker->engine, &reservation, 0)
                                   : kvc_abort(worker->engine, &reservation));
            }
            break;
        case 3:
            block_fill(number, buffer, sizeof buffer);
            status = kvc_put(worker->engine, &key, buffer, sizeof buffer, NULL);
            CHECK(status == KVC_OK || status == KVC_EXISTS || status == KVC_PENDING || status == KVC_AGAIN);
            break;
        default:
            if ((state >> 40) % 8 == 0)
                OK(kvc_remove(worker->engine, &key, 1, &bytes));
            else
                OK(kvc_match(worker->engine, &key, 1, KVC_MATCH_TOUCH, &bytes));
        }
    }
    return NULL;
}

static void threads(void) {
    kvc_config_t config = config_small();
    config.stripes_count = 8;
    config.pins_count = 256;
    kvc_engine_t *engine = open_with(&config);
    worker_t workers[4];
    pthread_t handles[4];
    for (uint64_t i = 0; i < 4; i++) {
        workers[i].engine = engine;
        workers[i].seed = i + 1;
        CHECK(pthread_create(&handles[i], NULL, hammer, &workers[i]) == 0);
    }
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(handles[i], NULL) == 0);
    kvc_stats_t stats = KVC_STATS_INIT;
    OK(kvc_stats_get(engine, &stats));
    CHECK(stats.pins_in_use == 0 && stats.blocks_reserved == 0);
    CHECK(stats.slots_free + stats.blocks_resident == stats.slots_count);
    OK(kvc_close(engine));
}

/* ---- time */

static void expiry(void) {
    const uint64_t second_ns = 1000000000;
    kvc_config_t config = config_small();
    config.clock = KVC_CLOCK_TICKS;
    config.pin_expiry_ms = 1000;
    config.reservation_expiry_ms = 1000;
    kvc_engine_t *engine = open_with(&config);
    OK(kvc_tick(engine, second_ns, NULL));
    put(engine, 1);
    kvc_key_t key = key_of(1), other = key_of(2);
    kvc_view_t view, late;
    kvc_reservation_t reservation;
    kvc_pin_info_t pins[2] = {KVC_PIN_INFO_INIT};
    uint64_t count;
    OK(kvc_acquire(engine, &key, 0, &view));
    OK(kvc_reserve(engine, &other, 8, NULL, &reservation));
    OK(kvc_tick(engine, second_ns + second_ns / 2, NULL));
    OK(kvc_acquire(engine, &key, 0, &late));
    OK(kvc_pins_get(engine, pins, 2, &count));
    CHECK(count == 2 && pins[0].struct_size == sizeof pins[0] && pins[1].struct_size == sizeof pins[0]);
    CHECK(memcmp(&pins[0].key, &key, sizeof key) == 0 && memcmp(&pins[0].block, &view.block, sizeof view.block) == 0);
    CHECK(pins[0].age_ns + pins[1].age_ns == second_ns / 2);
    OK(kvc_tick(engine, 0, NULL));
    OK(kvc_tick(engine, 2 * second_ns + second_ns / 4, NULL));
    EXPECT(KVC_E_STALE, kvc_release(engine, &view));
    EXPECT(KVC_E_STALE, kvc_commit(engine, &reservation, 0));
    OK(kvc_release(engine, &late));
    OK(kvc_put(engine, &other, "x", 1, NULL));
    kvc_stats_t stats = KVC_STATS_INIT;
    OK(kvc_stats_get(engine, &stats));
    CHECK(stats.pins_expired == 1 && stats.reservations_expired == 1 && stats.pins_in_use == 0);
    OK(kvc_close(engine));
}

/* ---- watching */

static void watching(void) {
    kvc_config_t config = config_small();
    config.latency_sample_count = 1;
    kvc_engine_t *engine = open_with(&config);
    kvc_capacity_t capacity = KVC_CAPACITY_INIT;
    OK(kvc_capacity_get(engine, &capacity));
    CHECK(capacity.blocks_count == SLOTS_COUNT && capacity.block_bytes == BLOCK_BYTES);
    CHECK(capacity.cpu_bytes == SLOTS_COUNT * BLOCK_BYTES && capacity.bytes > capacity.cpu_bytes);
    CHECK(capacity.pins_count >= 32 && capacity.lanes_count == 2 && capacity.lane_depth == 16);

    kvc_event_t events[128];
    uint64_t sequence = 0, count, lost, bytes;
    uint8_t buffer[BLOCK_BYTES];
    kvc_key_t key = key_of(1);
    put(engine, 1);
    OK(kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes));
    EXPECT(KVC_EXISTS, kvc_put(engine, &key, "x", 1, NULL));
    kvc_view_t view;
    OK(kvc_acquire(engine, &key, 0, &view));
    OK(kvc_release(engine, &view));
    OK(kvc_remove(engine, &key, 1, &count));
    EXPECT(KVC_MISS, kvc_get(engine, &key, buffer, sizeof buffer, 0, &bytes));
    OK(kvc_events_read(engine, &sequence, events, 1, &count, &lost));
    CHECK(count == 1 && lost == 0 && sequence == 1);
    CHECK(events[0].sequence == 0 && events[0].kind == KVC_EVENT_STORED && events[0].tier == KVC_TIER_CPU);
    CHECK(memcmp(&events[0].key, &key, sizeof key) == 0 && events[0].time_ns != 0);
    OK(kvc_events_read(engine, &sequence, events, COUNT(events), &count, &lost));
    CHECK(count == 1 && events[0].kind == KVC_EVENT_REMOVED && sequence == 2);
    CHECK(memcmp(&events[0].block, &view.block, sizeof view.block) == 0);
    OK(kvc_events_read(engine, &sequence, events, COUNT(events), &count, &lost));
    CHECK(count == 0 && lost == 0);

    kvc_stats_t stats = KVC_STATS_INIT;
    OK(kvc_stats_get(engine, &stats));
    CHECK(stats.get_hits == 1 && stats.get_misses == 1 && stats.get_bytes == BLOCK_BYTES && stats.acquires == 1);
    CHECK(stats.releases == 1 && stats.commits == 1 && stats.commit_bytes == BLOCK_BYTES && stats.removes == 1);
    CHECK(stats.puts_existing == 1 && stats.blocks_resident == 0 && stats.slots_free == SLOTS_COUNT);
    CHECK(stats.slots_count == SLOTS_COUNT && stats.bytes_capacity == SLOTS_COUNT * BLOCK_BYTES);
    CHECK(stats.event_sequence_next == 2);

    /* More events than the ring remembers: the reader learns how many it missed. */
    for (uint64_t number = 0; number < 2 * SLOTS_COUNT; number++)
        put(engine, number);
    uint64_t seen = 0, missed = 0, next = 2;
    do {
        OK(kvc_events_read(engine, &sequence, events, 50, &count, &lost));
        missed += lost;
        for (uint64_t i = 0; i < count; i++, seen++) {
            CHECK(events[i].sequence >= next);
            next = events[i].sequence + 1;
        }
    } while (count != 0);
    CHECK(missed > 0 && seen > 0 && seen <= 64 && 2 + seen + missed == sequence);
    OK(kvc_stats_get(engine, &stats));
    CHECK(sequence == stats.event_sequence_next);

    kvc_histogram_t histogram = KVC_HISTOGRAM_INIT;
    OK(kvc_histogram_get(engine, KVC_OPERATION_PUT, KVC_TIER_CPU, &histogram));
    CHECK(histogram.count > 0 && histogram.latency_ns_max > 0 && histogram.latency_ns_sum >= histogram.latency_ns_max);
    CHECK(histogram.latency_ns_p50 <= histogram.latency_ns_p90 && histogram.latency_ns_p90 <= histogram.latency_ns_p99);
    CHECK(histogram.latency_ns_p99 <= histogram.latency_ns_p999);
    OK(kvc_histogram_get(engine, KVC_OPERATION_PUT, KVC_TIER_GPU, &histogram));
    CHECK(histogram.count == 0 && histogram.latency_ns_p50 == 0);
    EXPECT(KVC_E_UNSUPPORTED, kvc_histogram_get(engine, KVC_OPERATIONS_COUNT, KVC_TIER_CPU, &histogram));
    EXPECT(KVC_E_UNSUPPORTED, kvc_histogram_get(engine, 0, KVC_TIERS_COUNT, &histogram));
    EXPECT(KVC_E_UNSUPPORTED, kvc_histogram_get(engine, UINT32_MAX, UINT32_MAX, &histogram));

    static char text[64 << 10];
    bytes = 0;
    OK(kvc_metrics_write(engine, text, sizeof text, &bytes));
    CHECK(bytes > 1000 && strlen(text) == bytes && bytes < sizeof text / 2);
    CHECK(strstr(text, "# HELP ") != NULL && strstr(text, "kvcache_commits_total ") != NULL);
    uint64_t before = bytes;
    EXPECT(KVC_E_TOO_SMALL, kvc_metrics_write(engine, text, 100, &bytes));
    EXPECT(KVC_E_TOO_SMALL, kvc_metrics_write(engine, text, bytes, &bytes));
    CHECK(bytes == before);
    OK(kvc_metrics_write(engine, text, bytes + 1, &bytes));

    /* More pins than there is room for: as many as fit, and how many there are. Longer structs lie further apart. */
    struct {
        kvc_pin_info_t info;
        uint64_t later[3];
    } pins[4];
    kvc_view_t views[6];
    key = key_of(2 * SLOTS_COUNT - 1);
    for (size_t i = 0; i < COUNT(views); i++)
        OK(kvc_acquire(engine, &key, 0, &views[i]));
    memset(pins, 0, sizeof pins);
    pins[0].info.struct_size = sizeof pins[0];
    OK(kvc_pins_get(engine, &pins[0].info, COUNT(pins), &count));
    CHECK(count == COUNT(views));
    for (size_t i = 0; i < COUNT(pins); i++) {
        CHECK(pins[i].info.struct_size == sizeof pins[0] && memcmp(&pins[i].info.key, &key, sizeof key) == 0);
        CHECK(memcmp(&pins[i].info.block, &views[0].block, sizeof views[0].block) == 0 && pins[i].later[2] == 0);
        for (size_t j = 0; j < i; j++)
            CHECK(memcmp(&pins[i].info.pin, &pins[j].info.pin, sizeof pins[i].info.pin) != 0);
    }
    OK(kvc_release_many(engine, views, COUNT(views), &count));
    OK(kvc_pins_get(engine, NULL, 0, &count));
    CHECK(count == 0);
    OK(kvc_close(engine));

    config.events_count = KVC_NONE;
    engine = open_with(&config);
    put(engine, 1);
    sequence = 0;
    OK(kvc_events_read(engine, &sequence, events, COUNT(events), &count, &lost));
    CHECK(count == 0);
    OK(kvc_close(engine));
}

/* ---- layout */

enum { LAYERS = 3, HEADS = 2, DIM = 8, TOKENS = 16, PAGES = 6, PAGE_TOKENS = 8 };

/* The place of an element in pages of [2][page][token][head][element] or, for HND, of
 * [page][2][head][token][element]. */
static size_t page_place(int hnd, size_t plane, size_t page, size_t token, size_t head, size_t element) {
    if (hnd)
        return (((page * 2 + plane) * HEADS + head) * PAGE_TOKENS + token) * DIM + element;
    return (((plane * PAGES + page) * PAGE_TOKENS + token) * HEADS + head) * DIM + element;
}

static void layout(void) {
    static uint8_t pool[LAYERS][2 * PAGES * PAGE_TOKENS * HEADS * DIM], back[LAYERS][sizeof pool[0]];
    static uint8_t block[LAYERS * 2 * TOKENS * HEADS * DIM], layer_block[sizeof block / LAYERS];
    kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
    geometry.layers_count = LAYERS;
    geometry.kv_heads_count = HEADS;
    geometry.head_dim = DIM;
    geometry.tokens_per_block = TOKENS;
    geometry.dtype = KVC_DTYPE_U8;
    uint64_t bytes = 0;
    OK(kvc_geometry_block_bytes(&geometry, &bytes));
    CHECK(bytes == sizeof block);
    EXPECT(KVC_E_NULL, kvc_geometry_block_bytes(NULL, &bytes));
    EXPECT(KVC_E_NULL, kvc_geometry_block_bytes(&geometry, NULL));

    void *bases[LAYERS], *targets[LAYERS];
    for (size_t layer = 0; layer < LAYERS; layer++) {
        bases[layer] = pool[layer];
        targets[layer] = back[layer];
        for (size_t place = 0; place < sizeof pool[0]; place++)
            pool[layer][place] = (uint8_t)(layer * 101 + place * 7 + (place >> 8));
    }
    const uint32_t pages[2] = {4, 1};
    for (int hnd = 0; hnd < 2; hnd++) {
        kvc_paged_t paged = KVC_PAGED_INIT;
        paged.pages_count = PAGES;
        paged.tokens_per_page = PAGE_TOKENS;
        paged.order = hnd ? KVC_ORDER_HND : KVC_ORDER_NHD;
        paged.planes = hnd ? KVC_PLANES_INNER : KVC_PLANES_OUTER;
        paged.keys = bases;
        paged.keys_count = LAYERS;
        memset(block, 0, sizeof block);
        OK(kvc_layout_gather(&geometry, &paged, pages, 2, 0, 0, block, sizeof block));
        size_t at = 0;
        for (size_t layer = 0; layer < LAYERS; layer++)
            for (size_t plane = 0; plane < 2; plane++)
                for (size_t token = 0; token < TOKENS; token++)
                    for (size_t head = 0; head < HEADS; head++)
                        for (size_t element = 0; element < DIM; element++, at++)
                            CHECK(block[at] == pool[layer][page_place(hnd, plane, pages[token / PAGE_TOKENS],
                                                                      token % PAGE_TOKENS, head, element)]);
        for (uint64_t layer = 0; layer < LAYERS; layer++) {
            OK(kvc_layout_gather_layer(&geometry, &paged, pages, 2, 0, layer, KVC_COPY_COLD, layer_block,
                                       sizeof layer_block));
            CHECK(memcmp(layer_block, block + layer * sizeof layer_block, sizeof layer_block) == 0);
        }

        /* Back: the pages of the table are written, the others are not touched. */
        kvc_paged_t target = paged;
        target.keys = targets;
        memset(back, 0x5a, sizeof back);
        OK(kvc_layout_scatter(&geometry, &target, pages, 2, 0, KVC_COPY_HOT, block, sizeof block));
        for (size_t layer = 0; layer < LAYERS; layer++)
            for (size_t plane = 0; plane < 2; plane++)
                for (size_t page = 0; page < PAGES; page++)
                    for (size_t token = 0; token < PAGE_TOKENS; token++)
                        for (size_t head = 0; head < HEADS; head++)
                            for (size_t element = 0; element < DIM; element++) {
                                size_t place = page_place(hnd, plane, page, token, head, element);
                                CHECK(back[layer][place] == (page == 1 || page == 4 ? pool[layer][place] : 0x5a));
                            }
        static uint8_t by_layer[LAYERS][sizeof pool[0]];
        memset(by_layer, 0x5a, sizeof by_layer);
        void *layer_targets[LAYERS] = {by_layer[0], by_layer[1], by_layer[2]};
        target.keys = layer_targets;
        for (uint64_t layer = 0; layer < LAYERS; layer++)
            OK(kvc_layout_scatter_layer(&geometry, &target, pages, 2, 0, layer, 0, block + layer * sizeof layer_block,
                                        sizeof layer_block));
        CHECK(memcmp(by_layer, back, sizeof back) == 0);

        /* What does not fit is refused before the first byte moves. */
        memset(block, 0x5a, sizeof block);
        const uint32_t wrong[2] = {4, PAGES};
        EXPECT(KVC_E_ARGUMENT, kvc_layout_gather(&geometry, &paged, wrong, 2, 0, 0, block, sizeof block));
        EXPECT(KVC_E_ARGUMENT, kvc_layout_gather(&geometry, &paged, pages, 1, 0, 0, block, sizeof block));
        EXPECT(KVC_E_ARGUMENT, kvc_layout_gather(&geometry, &paged, pages, 2, 1, 0, block, sizeof block));
        EXPECT(KVC_E_TOO_SMALL, kvc_layout_gather(&geometry, &paged, pages, 2, 0, 0, block, sizeof block - 1));
        EXPECT(KVC_E_UNSUPPORTED, kvc_layout_gather(&geometry, &paged, pages, 2, 0, 4, block, sizeof block));
        EXPECT(KVC_E_NULL, kvc_layout_gather(NULL, &paged, pages, 2, 0, 0, block, sizeof block));
        EXPECT(KVC_E_NULL, kvc_layout_gather(&geometry, NULL, pages, 2, 0, 0, block, sizeof block));
        EXPECT(KVC_E_NULL, kvc_layout_gather(&geometry, &paged, NULL, 2, 0, 0, block, sizeof block));
        EXPECT(KVC_E_NULL, kvc_layout_gather(&geometry, &paged, pages, 2, 0, 0, NULL, sizeof block));
        EXPECT(KVC_E_ARGUMENT, kvc_layout_gather_layer(&geometry, &paged, pages, 2, 0, LAYERS, 0, block, sizeof block));
        EXPECT(KVC_E_TOO_SMALL, kvc_layout_gather_layer(&geometry, &paged, pages, 2, 0, 0, 0, block, 1));
        EXPECT(KVC_E_NULL, kvc_layout_scatter(&geometry, &target, pages, 2, 0, 0, NULL, sizeof block));
        EXPECT(KVC_E_TOO_SMALL, kvc_layout_scatter(&geometry, &target, pages, 2, 0, 0, block, 1));
        EXPECT(KVC_E_ARGUMENT,
               kvc_layout_scatter_layer(&geometry, &target, pages, 2, 0, UINT64_MAX, 0, block, sizeof block));
        paged.keys_count = LAYERS - 1;
        EXPECT(KVC_E_ARGUMENT, kvc_layout_gather(&geometry, &paged, pages, 2, 0, 0, block, sizeof block));
        paged.keys_count = LAYERS;
        paged.order = 0;
        EXPECT(KVC_E_CONFIG, kvc_layout_gather(&geometry, &paged, pages, 2, 0, 0, block, sizeof block));
        paged.order = KVC_ORDER_NHD;
        paged.tokens_per_page = 5;
        EXPECT(KVC_E_CONFLICT, kvc_layout_gather(&geometry, &paged, pages, 2, 0, 0, block, sizeof block));
        for (size_t place = 0; place < sizeof block; place++)
            CHECK(block[place] == 0x5a);
    }

    /* A block with a geometry, gathered into a reservation and scattered from a view. */
    kvc_config_t config = config_small();
    config.block_bytes = sizeof block;
    config.cpu_bytes = 4096 * 4;
    kvc_geometry_t geometries[2] = {geometry, geometry};
    geometries[1].layers_count = 1;
    config.geometries = geometries;
    config.geometries_count = 2;
    kvc_engine_t *engine = open_with(&config);
    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    kvc_key_t key = key_of(1);
    kvc_reservation_t reservation;
    kvc_view_t view;
    info.geometry_id = 3;
    EXPECT(KVC_E_ARGUMENT, kvc_reserve(engine, &key, sizeof block, &info, &reservation));
    info.geometry_id = 2;
    EXPECT(KVC_E_ARGUMENT, kvc_reserve(engine, &key, sizeof block, &info, &reservation));
    info.geometry_id = 1;
    OK(kvc_reserve(engine, &key, sizeof block, &info, &reservation));
    kvc_paged_t paged = KVC_PAGED_INIT;
    paged.pages_count = PAGES;
    paged.tokens_per_page = PAGE_TOKENS;
    paged.order = KVC_ORDER_NHD;
    paged.planes = KVC_PLANES_OUTER;
    paged.keys = bases;
    paged.keys_count = LAYERS;
    OK(kvc_layout_gather(&geometry, &paged, pages, 2, 0, 0, reservation.data, reservation.bytes));
    OK(kvc_commit(engine, &reservation, 0));
    OK(kvc_acquire(engine, &key, 0, &view));
    paged.keys = targets;
    memset(back, 0, sizeof back);
    OK(kvc_layout_scatter(&geometry, &paged, pages, 2, 0, 0, view.data, view.bytes));
    OK(kvc_release(engine, &view));
    size_t page_bytes = PAGE_TOKENS * HEADS * DIM;
    for (size_t layer = 0; layer < LAYERS; layer++)
        CHECK(memcmp(&back[layer][4 * page_bytes], &pool[layer][4 * page_bytes], page_bytes) == 0);

    /* Longer structs in the configuration's array lie further apart; unequal ones are refused. */
    struct {
        kvc_geometry_t geometry;
        uint64_t later;
    } further[2] = {{geometry, 0}, {geometry, 0}};
    OK(kvc_close(engine));
    further[0].geometry.struct_size = sizeof further[0];
    config.geometries = &further[0].geometry;
    kvc_error_t error = KVC_ERROR_INIT;
    EXPECT(KVC_E_ARGUMENT, kvc_engine_open(&config, &engine, &error));
    further[1].geometry.struct_size = sizeof further[0];
    engine = open_with(&config);
    OK(kvc_close(engine));
    further[1].later = 1;
    EXPECT(KVC_E_UNSUPPORTED, kvc_engine_open(&config, &engine, &error));
}

/* */

int main(int arguments_count, char **arguments) {
    const part_t parts[] = {
        {"versions", versions},
        {"growable_structs", growable_structs},
        {"first_version", first_version},
        {"plan", plan},
        {"refusals", refusals},
        {"handles", handles},
        {"nulls", nulls},
        {"engines_many", engines_many},
        {"memory_brought", memory_brought},
        {"shutdown_and_close", shutdown_and_close},
        {"forked", forked},
        {"put_and_get", put_and_get},
        {"reserve_and_commit", reserve_and_commit},
        {"acquire_and_release", acquire_and_release},
        {"without_files", without_files},
        {"everything_pinned", everything_pinned},
        {"batches", batches},
        {"keeping", keeping},
        {"policies", policies},
        {"importance", importance},
        {"dedup", dedup},
        {"keys", keys},
        {"lanes_by_tick", lanes_by_tick},
        {"lanes_by_workers", lanes_by_workers},
        {"lanes_of_two_threads", lanes_of_two_threads},
        {"threads", threads},
        {"expiry", expiry},
        {"watching", watching},
        {"layout", layout},
    };
    size_t parts_count = parts_run(parts, COUNT(parts), arguments_count, arguments);
    printf("suite: %zu parts, %lu checks\n", parts_count, checks_count);
    return parts_count == 0;
}
