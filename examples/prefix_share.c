/* Two requests share the beginning of their prompts: the second one finds the blocks of the first and computes only
 * what is different.
 *
 * Each prompt is cut into blocks of 16 tokens, and each block's key is chained to the one before, so equal keys mean
 * equal prompts up to there. Blocks go in without a copy (reserve, fill in place, commit) and come out without one
 * (acquire). "Computing" is a function of the block's key here, so that every byte can be checked.
 *
 *     cc examples/prefix_share.c $(pkg-config --cflags --libs kvcache) -o prefix_share && ./prefix_share
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kvcache.h>

enum { TOKENS_PER_BLOCK = 16, TOKENS_COUNT_MAX = 256, BLOCKS_COUNT_MAX = TOKENS_COUNT_MAX / TOKENS_PER_BLOCK };

static void check(kvc_status_t status, const char *what) {
    if (status == KVC_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, kvc_status_name(status));
    exit(1);
}

/* What a model would compute for the block. */
static uint8_t computed(const kvc_key_t *key, uint64_t place) {
    return (uint8_t)(key->bytes[place % 32] + place / 32);
}

/* Serves one request: takes what is there, computes and stores the rest. Returns how many blocks were computed. */
static uint64_t serve(kvc_engine_t *engine, uint64_t block_bytes, const uint32_t *tokens, uint64_t tokens_count) {
    /* What makes the blocks of two models different belongs into the salt of the root. */
    const char *salt = "llama-3.1-8b bf16 16x32x8x128";
    kvc_key_t root, keys[BLOCKS_COUNT_MAX];
    kvc_view_t views[BLOCKS_COUNT_MAX];
    uint64_t keys_count, shared_count;
    check(kvc_key_chain_root(0, salt, strlen(salt), &root), "root");
    check(kvc_key_chain_many(&root, tokens, tokens_count, TOKENS_PER_BLOCK, keys, BLOCKS_COUNT_MAX, &keys_count),
          "keys");

    /* The longest prefix that is there stays where it is until it is released. */
    check(kvc_acquire_many(engine, keys, keys_count, 0, views, &shared_count), "acquire");
    for (uint64_t i = 0; i < shared_count; i++)
        for (uint64_t place = 0; place < views[i].bytes; place++)
            if (((const uint8_t *)views[i].data)[place] != computed(&keys[i], place)) {
                fprintf(stderr, "block %" PRIu64 " came back wrong\n", i);
                exit(1);
            }

    kvc_put_info_t info = KVC_PUT_INFO_INIT;
    info.tokens_count = TOKENS_PER_BLOCK;
    for (uint64_t i = shared_count; i < keys_count; i++) {
        kvc_reservation_t reservation;
        info.parent = i > 0 ? &keys[i - 1] : &root;
        info.chain_index = i;
        kvc_status_t status = kvc_reserve(engine, &keys[i], block_bytes, &info, &reservation);
        if (status == KVC_EXISTS || status == KVC_PENDING)
            continue; /* Another request was quicker with this block. */
        check(status, "reserve");
        for (uint64_t place = 0; place < reservation.bytes; place++)
            ((uint8_t *)reservation.data)[place] = computed(&keys[i], place);
        check(kvc_commit(engine, &reservation, 0), "commit");
    }
    check(kvc_release_many(engine, views, shared_count, NULL), "release");
    printf("%3" PRIu64 " tokens: %2" PRIu64 " blocks, %2" PRIu64 " found, %2" PRIu64 " computed\n", tokens_count,
           keys_count, shared_count, keys_count - shared_count);
    return keys_count - shared_count;
}

int main(void) {
    kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
    geometry.layers_count = 4;
    geometry.kv_heads_count = 2;
    geometry.head_dim = 64;
    geometry.tokens_per_block = TOKENS_PER_BLOCK;
    geometry.dtype = KVC_DTYPE_BF16;

    kvc_config_t config = KVC_CONFIG_INIT;
    check(kvc_geometry_block_bytes(&geometry, &config.block_bytes), "geometry");
    config.cpu_bytes = 64 * config.block_bytes;
    kvc_engine_t *engine;
    kvc_error_t error = KVC_ERROR_INIT;
    if (kvc_engine_open(&config, &engine, &error) != KVC_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }

    /* One system prompt of 160 tokens, two questions. */
    uint32_t first[224], second[208];
    for (uint32_t i = 0; i < 224; i++)
        first[i] = 1000 + i;
    for (uint32_t i = 0; i < 208; i++)
        second[i] = i < 160 ? 1000 + i : 5000 + i;

    uint64_t computed_first = serve(engine, config.block_bytes, first, 224);
    uint64_t computed_second = serve(engine, config.block_bytes, second, 208);
    uint64_t computed_again = serve(engine, config.block_bytes, first, 224);
    check(kvc_close(engine), "close");
    return !(computed_first == 14 && computed_second == 3 && computed_again == 0);
}
