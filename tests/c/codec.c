/* The codecs through kvcache.h: every codec there and back, one layer alone, exceptions, tables trained and kept in
 * files, damage, wrong arguments, two threads.
 *
 * codec [NAME]: runs all parts, or those whose name contains NAME, in a folder of its own under TMPDIR. Silent but for
 * the last line; ends with 1 at the first thing that is wrong. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum {
    LAYERS_COUNT = 3,
    HEADS_COUNT = 2,
    HEAD_DIM = 64,
    TOKENS_COUNT = 16,
    PLANE_BYTES = TOKENS_COUNT * HEADS_COUNT * HEAD_DIM * 2,
    LAYER_BYTES = 2 * PLANE_BYTES,
    BLOCK_BYTES = LAYERS_COUNT * LAYER_BYTES,
    SAMPLES_TOKENS = 512,
    SAMPLES_BYTES = SAMPLES_TOKENS * HEADS_COUNT * HEAD_DIM * 2,
};

static char folder[200];

static const char *path_of(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % COUNT(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const kvc_geometry_t *geometry_of(uint64_t dtype) {
    static kvc_geometry_t geometries[2];
    kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
    geometry.layers_count = LAYERS_COUNT;
    geometry.kv_heads_count = HEADS_COUNT;
    geometry.head_dim = HEAD_DIM;
    geometry.tokens_per_block = TOKENS_COUNT;
    geometry.dtype = dtype;
    kvc_geometry_t *kept = &geometries[dtype == KVC_DTYPE_BF16];
    *kept = geometry;
    return kept;
}

/* The upper half of a binary32, and binary16 of what is in its normal range. */
static uint16_t element_of(uint64_t dtype, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == KVC_DTYPE_BF16)
        return (uint16_t)(bits >> 16);
    int exponent = (int)(bits >> 23 & 0xff) - 112;
    if (exponent <= 0)
        return 0;
    return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ff));
}

static float number_of(uint64_t dtype, uint16_t element) {
    uint32_t bits = (uint32_t)element << 16;
    if (dtype != KVC_DTYPE_BF16) {
        uint32_t exponent = element >> 10 & 0x1f, fraction = element & 0x3ff;
        if (exponent == 0)
            return (element & 0x8000 ? -1.0f : 1.0f) * (float)fraction / 16777216.0f;
        bits = (element & 0x8000u) << 16 | (exponent + 112) << 23 | fraction << 13;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int finite(uint64_t dtype, uint16_t element) {
    uint16_t mask = dtype == KVC_DTYPE_BF16 ? 0x7f80 : 0x7c00;
    return (element & mask) != mask;
}

static int all_finite(uint64_t dtype, const uint16_t *elements, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!finite(dtype, elements[i]))
            return 0;
    return 1;
}

static float uniform(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) / 16777216.0f - 0.5f;
}

/* Nearly normal numbers, a few channels larger. */
static void elements_fill(uint64_t dtype, uint64_t seed, uint16_t *target, size_t count) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (int j = 0; j < 6; j++)
            sum += uniform(&state);
        target[i] = element_of(dtype, i % HEAD_DIM % 13 == 5 ? 4 * sum : sum);
    }
}

static double squares(uint64_t dtype, const uint16_t *left, const uint16_t *right, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double off = number_of(dtype, left[i]) - (right == NULL ? 0 : number_of(dtype, right[i]));
        sum += off * off;
    }
    return sum;
}

/* A codec with the memory that it takes. */
typedef struct {
    kvc_codec_t *codec;
    kvc_codec_description_t sizes;
    uint8_t *code, *scratch;
    uint64_t code_bytes;
} desk_t;

static void described(const kvc_codec_config_t *config, kvc_codec_description_t *sizes) {
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_status_t status = kvc_codec_describe(config, sizes, &error);
    if (status != KVC_OK)
        fprintf(stderr, "%s\n", error.message);
    CHECK(status == KVC_OK);
}

static desk_t desk_open(const kvc_codec_config_t *config) {
    kvc_codec_description_t sizes = KVC_CODEC_DESCRIPTION_INIT;
    described(config, &sizes);
    desk_t desk = {.sizes = sizes};
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_status_t status = kvc_codec_open(config, &desk.codec, &error);
    if (status != KVC_OK)
        fprintf(stderr, "%s\n", error.message);
    CHECK(status == KVC_OK);
    /* Exactly as much as the description says, so that a sanitizer sees one byte more. */
    desk.code = malloc(sizes.code_bytes_max);
    desk.scratch = malloc(sizes.scratch_bytes);
    CHECK(desk.code != NULL && desk.scratch != NULL);
    return desk;
}

static void desk_close(desk_t *desk) {
    OK(kvc_codec_close(desk->codec));
    EXPECT(KVC_E_HANDLE, kvc_codec_close(desk->codec));
    free(desk->code);
    free(desk->scratch);
}

static void desk_encode(desk_t *desk, const void *block, uint64_t position) {
    OK(kvc_codec_encode(desk->codec, block, BLOCK_BYTES, position, KVC_CODEC_RAW, desk->code,
                        desk->sizes.code_bytes_max, desk->scratch, desk->sizes.scratch_bytes, &desk->code_bytes));
    CHECK(desk->code_bytes <= desk->sizes.code_bytes_max);
}

static kvc_status_t desk_decode(desk_t *desk, const void *code, uint64_t code_bytes, void *block) {
    return kvc_codec_decode(desk->codec, code, code_bytes, block, BLOCK_BYTES, desk->scratch,
                            desk->sizes.scratch_bytes);
}

/* Tables for the geometry of this suite, trained once. */
static void *tables;
static uint64_t tables_bytes;

static kvc_codec_samples_t samples_of(void) {
    static uint16_t planes[2 * LAYERS_COUNT][SAMPLES_BYTES / 2];
    static const void *keys[LAYERS_COUNT], *values[LAYERS_COUNT];
    for (size_t i = 0; i < LAYERS_COUNT; i++) {
        elements_fill(KVC_DTYPE_F16, 100 + i, planes[2 * i], SAMPLES_BYTES / 2);
        elements_fill(KVC_DTYPE_F16, 200 + i, planes[2 * i + 1], SAMPLES_BYTES / 2);
        keys[i] = planes[2 * i];
        values[i] = planes[2 * i + 1];
    }
    kvc_codec_samples_t samples = KVC_CODEC_SAMPLES_INIT;
    samples.dtype = KVC_DTYPE_F16;
    samples.layers_count = LAYERS_COUNT;
    samples.kv_heads_count = HEADS_COUNT;
    samples.head_dim = HEAD_DIM;
    samples.tokens_count = SAMPLES_TOKENS;
    samples.sequence_tokens_count = SAMPLES_TOKENS / 2;
    samples.keys = keys;
    samples.values = values;
    samples.rope = KVC_ROPE_NONE;
    return samples;
}

static void *aligned(uint64_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    CHECK(memory != NULL);
    return memory;
}

static void tables_train(void) {
    if (tables != NULL)
        return;
    kvc_codec_samples_t samples = samples_of();
    uint64_t capacity = 0;
    OK(kvc_codec_train_bytes_max(&samples, &capacity, NULL));
    tables = aligned(capacity);
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_status_t status = kvc_codec_train(&samples, tables, capacity, &tables_bytes, &error);
    if (status != KVC_OK)
        fprintf(stderr, "%s\n", error.message);
    CHECK(status == KVC_OK && tables_bytes > 128 && tables_bytes <= capacity);
}

static kvc_codec_config_t config_of(uint64_t dtype, uint64_t codec) {
    kvc_codec_config_t config = KVC_CODEC_CONFIG_INIT;
    config.geometry = geometry_of(dtype);
    config.codec_key = codec;
    config.codec_value = codec;
    if (codec == KVC_CODEC_VQ || codec == KVC_CODEC_XC) {
        tables_train();
        config.codec_tables = tables;
        config.codec_tables_bytes = tables_bytes;
    }
    return config;
}

/* ---- */

static void names(void) {
    const char *expected[] = {"raw", "lz", "f8", "i8", "n4", "t4", "t3", "t2", "vq", "xc", "unknown", "unknown"};
    for (uint64_t codec = 0; codec < COUNT(expected); codec++)
        CHECK(strcmp(kvc_codec_name(codec), expected[codec]) == 0);
    CHECK(COUNT(expected) == KVC_CODECS_COUNT + 2 && strcmp(kvc_codec_name(UINT64_MAX), "unknown") == 0);
    CHECK(strcmp(kvc_status_name(KVC_E_DAMAGED), "KVC_E_DAMAGED") == 0);
}

static void there_and_back(void) {
    static uint16_t block[BLOCK_BYTES / 2], decoded[BLOCK_BYTES / 2], layer[LAYER_BYTES / 2];
    const uint64_t dtypes[] = {KVC_DTYPE_F16, KVC_DTYPE_BF16};
    for (uint64_t codec = 0; codec < KVC_CODECS_COUNT; codec++)
        for (size_t i = 0; i < COUNT(dtypes); i++) {
            uint64_t dtype = dtypes[i];
            kvc_codec_config_t config = config_of(dtype, codec);
            desk_t desk = desk_open(&config);
            elements_fill(dtype, 7, block, COUNT(block));
            desk_encode(&desk, block, 5);
            memset(decoded, 0xee, sizeof decoded);
            OK(desk_decode(&desk, desk.code, desk.code_bytes, decoded));
            int exact = codec == KVC_CODEC_RAW || codec == KVC_CODEC_LZ;
            CHECK((memcmp(block, decoded, sizeof block) == 0) == exact && desk.sizes.exact == (uint64_t)exact);
            double error = squares(dtype, decoded, block, COUNT(block)) / squares(dtype, block, NULL, COUNT(block));
            double bound = (double)desk.sizes.error_nominal_permille * 2.5 / 1000 + 0.005;
            CHECK(error < bound * bound);
            CHECK(all_finite(dtype, decoded, COUNT(decoded)));
            for (uint64_t number = 0; number < LAYERS_COUNT; number++) {
                OK(kvc_codec_decode_layer(desk.codec, desk.code, desk.code_bytes, number, layer, LAYER_BYTES,
                                          desk.scratch, desk.sizes.scratch_bytes));
                CHECK(memcmp(layer, decoded + number * COUNT(layer), sizeof layer) == 0);
            }

            kvc_codec_info_t info = KVC_CODEC_INFO_INIT;
            OK(kvc_codec_inspect(desk.codec, desk.code, desk.code_bytes, &info));
            CHECK(info.codec == codec && info.codec_before == KVC_CODEC_RAW && info.position == 5);
            CHECK(info.planes_count == 2 * LAYERS_COUNT && info.exact_tokens == 0);
            CHECK((info.tables_digest != 0) == (config.codec_tables != NULL));
            CHECK(desk.sizes.tables_needed == (config.codec_tables != NULL) && desk.sizes.block_bytes == BLOCK_BYTES);
            uint64_t millibits = (desk.code_bytes * 8000 + BLOCK_BYTES / 2 - 1) / (BLOCK_BYTES / 2);
            CHECK(desk.sizes.fixed_rate ? millibits == desk.sizes.millibits : millibits <= desk.sizes.millibits);
            desk_close(&desk);
        }
}

/* Which bytes are exact: the first tokens, the outer layers, the layers of an exception. */
static void exceptions(void) {
    static uint8_t block[BLOCK_BYTES], decoded[BLOCK_BYTES];
    elements_fill(KVC_DTYPE_F16, 3, (uint16_t *)block, BLOCK_BYTES / 2);
    kvc_codec_config_t config = config_of(KVC_DTYPE_F16, KVC_CODEC_T3);
    config.exact_tokens = TOKENS_COUNT + 4;
    config.exact_layers_first = 1;
    config.layers_count = 1;
    config.layers[0].layer_first = config.layers[0].layer_last = 2;
    config.layers[0].codec_key = (uint32_t)KVC_CODEC_I8;
    config.layers[0].codec_value = (uint32_t)KVC_CODEC_RAW;
    desk_t desk = desk_open(&config);
    for (uint64_t position = 0; position < 3 * TOKENS_COUNT; position += TOKENS_COUNT) {
        desk_encode(&desk, block, position);
        OK(desk_decode(&desk, desk.code, desk.code_bytes, decoded));
        kvc_codec_info_t info = KVC_CODEC_INFO_INIT;
        OK(kvc_codec_inspect(desk.codec, desk.code, desk.code_bytes, &info));
        uint64_t exact = position == 0 ? TOKENS_COUNT : position == TOKENS_COUNT ? 4 : 0;
        CHECK(info.exact_tokens == exact && info.position == position);
        uint64_t exact_bytes = exact * HEADS_COUNT * HEAD_DIM * 2;
        for (uint64_t plane = 0; plane < 2 * LAYERS_COUNT; plane++) {
            const uint8_t *from = block + plane * PLANE_BYTES, *to = decoded + plane * PLANE_BYTES;
            CHECK(memcmp(from, to, exact_bytes) == 0);
            int raw = plane < 2 || plane == 5 || exact == TOKENS_COUNT;
            CHECK((memcmp(from, to, PLANE_BYTES) == 0) == raw);
        }
    }
    desk_close(&desk);
}

static void refused(kvc_status_t status, const kvc_codec_config_t *config, const char *field) {
    kvc_error_t error = KVC_ERROR_INIT;
    kvc_codec_t *codec = NULL;
    kvc_status_t answer = kvc_codec_open(config, &codec, &error);
    if (answer != status || strcmp(error.field, field) != 0)
        fprintf(stderr, "%s %s: %s\n", kvc_status_name(answer), error.field, error.message);
    CHECK(answer == status && codec == NULL && error.status == status && strcmp(error.field, field) == 0);
    CHECK(strncmp(error.message, kvc_status_name(status), strlen(kvc_status_name(status))) == 0);
}

static void refusals(void) {
    kvc_codec_config_t config = config_of(KVC_DTYPE_F16, KVC_CODEC_I8), changed = config;
    changed.codec_value = KVC_CODECS_COUNT;
    refused(KVC_E_CONFIG, &changed, "codec_value");
    changed = config;
    changed.codec_key = changed.codec_value = KVC_CODEC_XC;
    refused(KVC_E_CONFIG, &changed, "codec_tables");
    kvc_codec_description_t sizes = KVC_CODEC_DESCRIPTION_INIT;
    OK(kvc_codec_describe(&changed, &sizes, NULL));
    CHECK(sizes.tables_needed == 1 && sizes.millibits > 2300 && sizes.millibits < 2400);

    kvc_geometry_t geometry = *config.geometry;
    changed = config;
    changed.geometry = &geometry;
    geometry.head_dim = 20;
    refused(KVC_E_CONFIG, &changed, "head_dim");
    geometry.head_dim = 64;
    geometry.dtype = KVC_DTYPE_F32;
    refused(KVC_E_CONFIG, &changed, "dtype");
    geometry.dtype = KVC_DTYPE_BF16;
    geometry.layers_count = 0;
    refused(KVC_E_CONFIG, &changed, "layers_count");

    /* Outputs stay as they were, and the error is written for refusals only. */
    kvc_codec_t *codec = NULL;
    kvc_error_t error = KVC_ERROR_INIT;
    changed.geometry = NULL;
    EXPECT(KVC_E_NULL, kvc_codec_open(&changed, &codec, &error));
    EXPECT(KVC_E_NULL, kvc_codec_open(&config, NULL, &error));
    EXPECT(KVC_E_NULL, kvc_codec_open(NULL, &codec, &error));
    EXPECT(KVC_E_NULL, kvc_codec_describe(&config, NULL, &error));
    changed = config;
    changed.struct_size = 8;
    EXPECT(KVC_E_ARGUMENT, kvc_codec_open(&changed, &codec, &error));
    struct {
        kvc_codec_config_t known;
        uint64_t unknown;
    } longer = {config, 0};
    longer.known.struct_size = sizeof longer;
    OK(kvc_codec_describe(&longer.known, &sizes, &error));
    longer.unknown = 1;
    EXPECT(KVC_E_UNSUPPORTED, kvc_codec_open(&longer.known, &codec, &error));
    CHECK(codec == NULL && error.status == 0 && error.message[0] == 0);
}

static void arguments(void) {
    static uint16_t block[BLOCK_BYTES / 2], decoded[BLOCK_BYTES / 2];
    elements_fill(KVC_DTYPE_F16, 9, block, COUNT(block));
    kvc_codec_config_t config = config_of(KVC_DTYPE_F16, KVC_CODEC_N4);
    desk_t desk = desk_open(&config);
    desk_encode(&desk, block, 0);
    uint64_t bytes = 77, max = desk.sizes.code_bytes_max, room = desk.sizes.scratch_bytes;
    uint8_t *code = malloc(max);
    CHECK(code != NULL);
#define ENCODE(codec, block, block_bytes, before, code, capacity, scratch, scratch_bytes, bytes)                      \
    kvc_codec_encode(codec, block, block_bytes, 0, before, code, capacity, scratch, scratch_bytes, bytes)
    EXPECT(KVC_E_NULL, ENCODE(NULL, block, BLOCK_BYTES, 0, code, max, desk.scratch, room, &bytes));
    EXPECT(KVC_E_NULL, ENCODE(desk.codec, NULL, BLOCK_BYTES, 0, code, max, desk.scratch, room, &bytes));
    EXPECT(KVC_E_NULL, ENCODE(desk.codec, block, BLOCK_BYTES, 0, NULL, max, desk.scratch, room, &bytes));
    EXPECT(KVC_E_NULL, ENCODE(desk.codec, block, BLOCK_BYTES, 0, code, max, NULL, room, &bytes));
    EXPECT(KVC_E_NULL, ENCODE(desk.codec, block, BLOCK_BYTES, 0, code, max, desk.scratch, room, NULL));
    EXPECT(KVC_E_HANDLE, ENCODE((kvc_codec_t *)&desk, block, BLOCK_BYTES, 0, code, max, desk.scratch, room, &bytes));
    EXPECT(KVC_E_ARGUMENT, ENCODE(desk.codec, block, BLOCK_BYTES - 2, 0, code, max, desk.scratch, room, &bytes));
    EXPECT(KVC_E_ARGUMENT, ENCODE(desk.codec, block, BLOCK_BYTES, 10, code, max, desk.scratch, room, &bytes));
    EXPECT(KVC_E_TOO_SMALL, ENCODE(desk.codec, block, BLOCK_BYTES, 0, code, max - 1, desk.scratch, room, &bytes));
    EXPECT(KVC_E_TOO_SMALL, ENCODE(desk.codec, block, BLOCK_BYTES, 0, NULL, 0, desk.scratch, room, &bytes));
    EXPECT(KVC_E_TOO_SMALL, ENCODE(desk.codec, block, BLOCK_BYTES, 0, code, max, desk.scratch, 1000, &bytes));
    EXPECT(KVC_E_TOO_SMALL, ENCODE(desk.codec, block, BLOCK_BYTES, 0, code, max, NULL, 0, &bytes));
    CHECK(bytes == 77);
#undef ENCODE
    EXPECT(KVC_E_NULL, desk_decode(&desk, NULL, desk.code_bytes, decoded));
    EXPECT(KVC_E_NULL, desk_decode(&desk, desk.code, desk.code_bytes, NULL));
    EXPECT(KVC_E_DAMAGED, desk_decode(&desk, NULL, 0, decoded));
    EXPECT(KVC_E_ARGUMENT,
           kvc_codec_decode(desk.codec, desk.code, desk.code_bytes, decoded, BLOCK_BYTES - 1, desk.scratch, room));
    const uint64_t layers[] = {LAYERS_COUNT, UINT64_MAX};
    for (size_t i = 0; i < COUNT(layers); i++)
        EXPECT(KVC_E_ARGUMENT, kvc_codec_decode_layer(desk.codec, desk.code, desk.code_bytes, layers[i], decoded,
                                                      LAYER_BYTES, desk.scratch, room));
    EXPECT(KVC_E_ARGUMENT, kvc_codec_decode_layer(desk.codec, desk.code, desk.code_bytes, 0, decoded, BLOCK_BYTES,
                                                  desk.scratch, room));
    EXPECT(KVC_E_NULL, kvc_codec_inspect(desk.codec, desk.code, desk.code_bytes, NULL));
    EXPECT(KVC_E_NULL, kvc_codec_close(NULL));
    free(code);
    desk_close(&desk);

    config = config_of(KVC_DTYPE_F16, KVC_CODEC_LZ);
    desk = desk_open(&config);
    desk_encode(&desk, block, 0);
    EXPECT(KVC_E_TOO_SMALL,
           kvc_codec_decode(desk.codec, desk.code, desk.code_bytes, decoded, BLOCK_BYTES, desk.scratch, 1000));
    desk_close(&desk);
}

static void damaged(void) {
    static uint16_t block[BLOCK_BYTES / 2], decoded[BLOCK_BYTES / 2];
    elements_fill(KVC_DTYPE_F16, 11, block, COUNT(block));
    for (uint64_t codec = 0; codec < KVC_CODECS_COUNT; codec++) {
        kvc_codec_config_t config = config_of(KVC_DTYPE_F16, codec);
        desk_t desk = desk_open(&config);
        desk_encode(&desk, block, 0);
        kvc_codec_info_t info = KVC_CODEC_INFO_INIT;
        uint64_t bytes = desk.code_bytes, state = codec + 1, refused_count = 0;
        /* A copy of each length, so that a sanitizer sees a byte read behind it. */
        for (uint64_t length = 0; length < bytes; length += length < 100 ? 1 : 997) {
            uint8_t *cut = malloc(length + 1);
            CHECK(cut != NULL);
            memcpy(cut, desk.code, length);
            EXPECT(KVC_E_DAMAGED, desk_decode(&desk, cut, length, decoded));
            EXPECT(KVC_E_DAMAGED, kvc_codec_inspect(desk.codec, cut, length, &info));
            free(cut);
        }
        for (int round = 0; round < 300; round++) {
            uint64_t at = (uint64_t)((uniform(&state) + 0.5f) * (float)(round % 2 ? 80 : bytes)) % bytes;
            uint8_t before = desk.code[at];
            desk.code[at] ^= (uint8_t)(1u << round % 8);
            kvc_status_t status = desk_decode(&desk, desk.code, bytes, decoded);
            CHECK(status == KVC_OK || status == KVC_E_DAMAGED || status == KVC_E_UNSUPPORTED);
            refused_count += status != KVC_OK;
            CHECK(status != KVC_OK || codec <= KVC_CODEC_LZ || all_finite(KVC_DTYPE_F16, decoded, COUNT(decoded)));
            desk.code[at] = before;
        }
        CHECK(refused_count > 50);
        OK(desk_decode(&desk, desk.code, bytes, decoded));
        desk_close(&desk);
    }
}

static void trained(void) {
    tables_train();
    kvc_codec_tables_info_t info = KVC_CODEC_TABLES_INFO_INIT;
    OK(kvc_codec_tables_check(tables, tables_bytes, &info));
    CHECK(info.bytes == tables_bytes && info.layers_count == LAYERS_COUNT && info.planes_count == 2);
    CHECK(info.kv_heads_count == HEADS_COUNT && info.head_dim == HEAD_DIM && info.tokens_count == SAMPLES_TOKENS);
    CHECK(info.codecs == (1u << KVC_CODEC_VQ | 1u << KVC_CODEC_XC) && info.digest != 0);
    CHECK(info.rope == KVC_ROPE_NONE && info.rope_dim == 0);

    /* The same samples, the same tables; one codec alone has only its own. */
    kvc_codec_samples_t samples = samples_of();
    uint64_t capacity, bytes = 5;
    OK(kvc_codec_train_bytes_max(&samples, &capacity, NULL));
    void *again = aligned(capacity);
    EXPECT(KVC_E_TOO_SMALL, kvc_codec_train(&samples, again, capacity - 1, &bytes, NULL));
    EXPECT(KVC_E_NULL, kvc_codec_train(&samples, again, capacity, NULL, NULL));
    EXPECT(KVC_E_NULL, kvc_codec_train(NULL, again, capacity, &bytes, NULL));
    EXPECT(KVC_E_NULL, kvc_codec_train(&samples, NULL, capacity, &bytes, NULL));
    CHECK(bytes == 5);
    OK(kvc_codec_train(&samples, again, capacity, &bytes, NULL));
    CHECK(bytes == tables_bytes && memcmp(again, tables, bytes) == 0);
    samples.codecs = 1u << KVC_CODEC_VQ;
    OK(kvc_codec_train(&samples, again, capacity, &bytes, NULL));
    OK(kvc_codec_tables_check(again, bytes, &info));
    CHECK(info.codecs == 1u << KVC_CODEC_VQ);
    kvc_codec_config_t config = config_of(KVC_DTYPE_F16, KVC_CODEC_XC);
    config.codec_tables = again;
    config.codec_tables_bytes = bytes;
    refused(KVC_E_CONFLICT, &config, "codec_tables");
    free(again);

    kvc_error_t error = KVC_ERROR_INIT;
    samples.head_dim = 40;
    EXPECT(KVC_E_CONFIG, kvc_codec_train_bytes_max(&samples, &capacity, &error));
    CHECK(strcmp(error.field, "head_dim") == 0 && error.value == 40);
}

static void tables_wrong(void) {
    tables_train();
    kvc_codec_config_t config = config_of(KVC_DTYPE_F16, KVC_CODEC_VQ);
    kvc_codec_tables_info_t info = KVC_CODEC_TABLES_INFO_INIT;
    uint8_t *room = aligned(tables_bytes + 64);
    memcpy(room + 8, tables, tables_bytes);
    config.codec_tables = room + 8;
    refused(KVC_E_ARGUMENT, &config, "codec_tables");
    EXPECT(KVC_E_ARGUMENT, kvc_codec_tables_check(room + 8, tables_bytes, &info));
    EXPECT(KVC_E_ARGUMENT, kvc_codec_tables_save(path_of("never"), room + 8, tables_bytes, NULL));
    memcpy(room, tables, tables_bytes);
    config.codec_tables = room;
    room[tables_bytes / 2] ^= 1;
    refused(KVC_E_DAMAGED, &config, "codec_tables");
    EXPECT(KVC_E_DAMAGED, kvc_codec_tables_check(room, tables_bytes, &info));
    EXPECT(KVC_E_DAMAGED, kvc_codec_tables_save(path_of("never"), room, tables_bytes, NULL));
    room[tables_bytes / 2] ^= 1;
    config.codec_tables_bytes--;
    refused(KVC_E_DAMAGED, &config, "codec_tables");
    config.codec_tables_bytes++;
    room[4] = 2;
    refused(KVC_E_UNSUPPORTED, &config, "codec_tables");
    room[4] = 1;
    kvc_geometry_t geometry = *config.geometry;
    config.geometry = &geometry;
    geometry.kv_heads_count++;
    refused(KVC_E_CONFLICT, &config, "kv_heads_count");
    geometry = *geometry_of(KVC_DTYPE_F16);
    geometry.layers_count++;
    refused(KVC_E_CONFLICT, &config, "layers_count");
    CHECK(info.bytes == 0);
    config.codec_tables = NULL;
    config.geometry = geometry_of(KVC_DTYPE_F16);
    kvc_codec_t *codec = NULL;
    EXPECT(KVC_E_NULL, kvc_codec_open(&config, &codec, NULL));

    /* A code that was made with other tables. */
    static uint16_t block[BLOCK_BYTES / 2];
    elements_fill(KVC_DTYPE_F16, 12, block, COUNT(block));
    config = config_of(KVC_DTYPE_F16, KVC_CODEC_VQ);
    desk_t desk = desk_open(&config);
    desk_encode(&desk, block, 0);
    desk.code[24] ^= 1;
    EXPECT(KVC_E_UNSUPPORTED, desk_decode(&desk, desk.code, desk.code_bytes, block));
    desk_close(&desk);
    free(room);
}

static void tables_in_files(void) {
    tables_train();
    const char *path = path_of("model.kvct");
    kvc_error_t error = KVC_ERROR_INIT;
    uint64_t bytes = 0;
    EXPECT(KVC_E_FILE, kvc_codec_tables_file_bytes(path, &bytes, &error));
    CHECK(error.os_error == ENOENT && strcmp(error.field, "path") == 0);
    OK(kvc_codec_tables_save(path, tables, tables_bytes, &error));
    OK(kvc_codec_tables_save(path, tables, tables_bytes, NULL));
    OK(kvc_codec_tables_file_bytes(path, &bytes, NULL));
    CHECK(bytes == tables_bytes);
    uint8_t *loaded = aligned(bytes + 64);
    bytes = 0;
    EXPECT(KVC_E_TOO_SMALL, kvc_codec_tables_load(path, loaded, tables_bytes - 1, &bytes, &error));
    CHECK(bytes == 0 && error.value_min == tables_bytes);
    EXPECT(KVC_E_ARGUMENT, kvc_codec_tables_load(path, loaded + 1, tables_bytes, &bytes, NULL));
    OK(kvc_codec_tables_load(path, loaded, tables_bytes, &bytes, NULL));
    CHECK(bytes == tables_bytes && memcmp(loaded, tables, bytes) == 0);

    EXPECT(KVC_E_FILE, kvc_codec_tables_save(path_of("no/model.kvct"), tables, tables_bytes, &error));
    EXPECT(KVC_E_NULL, kvc_codec_tables_save(NULL, tables, tables_bytes, NULL));
    EXPECT(KVC_E_NULL, kvc_codec_tables_load(NULL, loaded, bytes, &bytes, NULL));
    EXPECT(KVC_E_NULL, kvc_codec_tables_load(path, loaded, bytes, NULL, NULL));
    EXPECT(KVC_E_NULL, kvc_codec_tables_file_bytes(path, NULL, NULL));
    CHECK(truncate(path, (off_t)tables_bytes - 1) == 0);
    EXPECT(KVC_E_DAMAGED, kvc_codec_tables_file_bytes(path, &bytes, NULL));
    EXPECT(KVC_E_DAMAGED, kvc_codec_tables_load(path, loaded, tables_bytes, &bytes, NULL));
    CHECK(truncate(path, 3) == 0);
    EXPECT(KVC_E_FILE_FOREIGN, kvc_codec_tables_load(path, loaded, tables_bytes, &bytes, NULL));
    free(loaded);
    CHECK(unlink(path) == 0);
}

/* Every thread encodes and decodes with the same codec, and gets what one alone gets. */
static desk_t shared;
static uint16_t shared_block[BLOCK_BYTES / 2], shared_decoded[BLOCK_BYTES / 2];

static void *busy(void *argument) {
    uint64_t room = shared.sizes.scratch_bytes;
    uint8_t *code = malloc(shared.sizes.code_bytes_max), *scratch = malloc(room);
    uint16_t *decoded = malloc(BLOCK_BYTES);
    CHECK(code != NULL && scratch != NULL && decoded != NULL);
    for (int round = 0; round < 20; round++) {
        uint64_t bytes = 0;
        OK(kvc_codec_encode(shared.codec, shared_block, BLOCK_BYTES, 3, KVC_CODEC_RAW, code,
                            shared.sizes.code_bytes_max, scratch, room, &bytes));
        CHECK(bytes == shared.code_bytes && memcmp(code, shared.code, bytes) == 0);
        OK(kvc_codec_decode(shared.codec, code, bytes, decoded, BLOCK_BYTES, scratch, room));
        CHECK(memcmp(decoded, shared_decoded, BLOCK_BYTES) == 0);
        /* Codecs come and go meanwhile. */
        kvc_codec_config_t config = KVC_CODEC_CONFIG_INIT;
        config.geometry = argument;
        kvc_codec_t *codec = NULL;
        OK(kvc_codec_open(&config, &codec, NULL));
        CHECK(codec != shared.codec);
        OK(kvc_codec_close(codec));
    }
    free(code);
    free(scratch);
    free(decoded);
    return NULL;
}

static void two_threads(void) {
    kvc_geometry_t geometry = *geometry_of(KVC_DTYPE_F16);
    elements_fill(KVC_DTYPE_F16, 15, shared_block, COUNT(shared_block));
    for (uint64_t codec = 0; codec < KVC_CODECS_COUNT; codec++) {
        kvc_codec_config_t config = config_of(KVC_DTYPE_F16, codec);
        shared = desk_open(&config);
        desk_encode(&shared, shared_block, 3);
        OK(desk_decode(&shared, shared.code, shared.code_bytes, shared_decoded));
        pthread_t threads[2];
        for (size_t i = 0; i < COUNT(threads); i++)
            CHECK(pthread_create(&threads[i], NULL, busy, &geometry) == 0);
        for (size_t i = 0; i < COUNT(threads); i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        desk_close(&shared);
    }
}

static void many_at_once(void) {
    kvc_codec_config_t config = config_of(KVC_DTYPE_F16, KVC_CODEC_F8);
    static kvc_codec_t *codecs[1024];
    for (size_t i = 0; i < COUNT(codecs); i++)
        OK(kvc_codec_open(&config, &codecs[i], NULL));
    kvc_codec_t *more = NULL;
    EXPECT(KVC_AGAIN, kvc_codec_open(&config, &more, NULL));
    CHECK(more == NULL);
    for (size_t i = 0; i < COUNT(codecs); i++)
        OK(kvc_codec_close(codecs[i]));
    for (size_t i = 0; i < COUNT(codecs); i++)
        EXPECT(KVC_E_HANDLE, kvc_codec_close(codecs[i]));
}

/* */

int main(int arguments_count, char **arguments_given) {
    const part_t parts[] = {
        {"names", names},
        {"there_and_back", there_and_back},
        {"exceptions", exceptions},
        {"refusals", refusals},
        {"arguments", arguments},
        {"damaged", damaged},
        {"trained", trained},
        {"tables_wrong", tables_wrong},
        {"tables_in_files", tables_in_files},
        {"two_threads", two_threads},
        {"many_at_once", many_at_once},
    };
    folder_make(folder, sizeof folder, "codec");
    size_t parts_count = parts_run(parts, COUNT(parts), arguments_count, arguments_given);
    free(tables);
    CHECK(rmdir(folder) == 0);
    printf("codec: %zu parts, %lu checks\n", parts_count, checks_count);
    return parts_count == 0;
}
