/* Functions of kvcache.h in a form that suits cgo: small structs go in and come out by value, as words, so that no Go
 * memory escapes to the heap for a call and cgo has no pointers to check. That is why engines are numbers here. */
#ifndef KVCACHE_GO_SHIM_H
#define KVCACHE_GO_SHIM_H

#include <stdlib.h>
#include <string.h>

#include <kvcache.h>

/* A view, or what became of the attempt to get one. */
typedef struct kvc_go_view_t {
    const void *data;
    uint64_t bytes;
    uint64_t block;
    uint64_t pin;
    int64_t status;
} kvc_go_view_t;

/* A number, or what became of the attempt to get one. */
typedef struct kvc_go_count_t {
    uint64_t count;
    int64_t status;
} kvc_go_count_t;

/* What became of one block of a batch. */
typedef struct kvc_go_result_t {
    uint64_t bytes;
    int32_t status;
    uint32_t reserved;
} kvc_go_result_t;

/* What a put says about its block, without a pointer. */
typedef struct kvc_go_info_t {
    kvc_put_info_t info;
    kvc_key_t parent;
    uint64_t parent_is_set;
} kvc_go_info_t;

/* A reservation, or what became of the attempt to get one. */
typedef struct kvc_go_room_t {
    void *data;
    uint64_t bytes;
    uint64_t block;
    int64_t status;
} kvc_go_room_t;

/* An address that is never that of an engine or a codec: what a closed handle is set to. */
static const uint64_t kvc_go_closed_place[8];
static inline void *kvc_go_closed(void) { return (void *)(uintptr_t)kvc_go_closed_place; }

static inline uint64_t kvc_go_word(uint32_t index, uint32_t generation) { return (uint64_t)generation << 32 | index; }

static inline kvc_key_t kvc_go_key(uint64_t k0, uint64_t k1, uint64_t k2, uint64_t k3) {
    const uint64_t words[4] = {k0, k1, k2, k3};
    kvc_key_t key;
    memcpy(&key, words, sizeof key);
    return key;
}

static inline kvc_status_t kvc_go_release(uintptr_t handle, uint64_t block, uint64_t pin) {
    kvc_view_t view = {.block = {(uint32_t)block, (uint32_t)(block >> 32)},
                       .pin = {(uint32_t)pin, (uint32_t)(pin >> 32)}};
    return kvc_release((const kvc_engine_t *)handle, &view);
}

static inline kvc_go_view_t kvc_go_acquire(uintptr_t handle, uint64_t k0, uint64_t k1, uint64_t k2,
                                           uint64_t k3, uint32_t flags) {
    const kvc_key_t key = kvc_go_key(k0, k1, k2, k3);
    kvc_view_t view = {0};
    const kvc_status_t status = kvc_acquire((const kvc_engine_t *)handle, &key, flags, &view);
    return (kvc_go_view_t){view.data, view.bytes, kvc_go_word(view.block.index, view.block.generation),
                           kvc_go_word(view.pin.index, view.pin.generation), status};
}

/* Gives one view back, unless it is none, and acquires the next. */
static inline kvc_go_view_t kvc_go_next(uintptr_t handle, uint64_t block, uint64_t pin, uint64_t k0,
                                        uint64_t k1, uint64_t k2, uint64_t k3, uint32_t flags) {
    if (pin != 0)
        kvc_go_release(handle, block, pin);
    return kvc_go_acquire(handle, k0, k1, k2, k3, flags);
}

static inline kvc_go_count_t kvc_go_view_ready(uintptr_t handle, const void *data, uint64_t bytes,
                                               uint64_t block, uint64_t pin) {
    const kvc_view_t view = {.data = data,
                             .bytes = bytes,
                             .block = {(uint32_t)block, (uint32_t)(block >> 32)},
                             .pin = {(uint32_t)pin, (uint32_t)(pin >> 32)}};
    kvc_go_count_t answer = {0, 0};
    answer.status = kvc_view_ready((const kvc_engine_t *)handle, &view, &answer.count);
    return answer;
}

static inline kvc_go_count_t kvc_go_match(uintptr_t handle, const kvc_key_t *keys, uint64_t keys_count,
                                          uint32_t flags) {
    kvc_go_count_t answer = {0, 0};
    answer.status = kvc_match((const kvc_engine_t *)handle, keys, keys_count, flags, &answer.count);
    return answer;
}

static inline kvc_go_count_t kvc_go_get(uintptr_t handle, uint64_t k0, uint64_t k1, uint64_t k2, uint64_t k3,
                                        uint8_t *target, uint64_t target_bytes, uint32_t flags) {
    const kvc_key_t key = kvc_go_key(k0, k1, k2, k3);
    kvc_go_count_t answer = {0, 0};
    answer.status = kvc_get((const kvc_engine_t *)handle, &key, target, target_bytes, flags, &answer.count);
    return answer;
}

/* The info of a put, its parent beside it; NULL stays NULL. */
static inline const kvc_put_info_t *kvc_go_info(kvc_go_info_t *info) {
    if (info->info.struct_size == 0)
        return NULL;
    info->info.parent = info->parent_is_set ? &info->parent : NULL;
    return &info->info;
}

static inline kvc_status_t kvc_go_put(uintptr_t handle, uint64_t k0, uint64_t k1, uint64_t k2, uint64_t k3,
                                      const uint8_t *source, uint64_t source_bytes) {
    const kvc_key_t key = kvc_go_key(k0, k1, k2, k3);
    return kvc_put((const kvc_engine_t *)handle, &key, source, source_bytes, NULL);
}

static inline kvc_status_t kvc_go_put_info(uintptr_t handle, uint64_t k0, uint64_t k1, uint64_t k2,
                                           uint64_t k3, const uint8_t *source, uint64_t source_bytes,
                                           kvc_go_info_t info) {
    const kvc_key_t key = kvc_go_key(k0, k1, k2, k3);
    return kvc_put((const kvc_engine_t *)handle, &key, source, source_bytes, kvc_go_info(&info));
}

static inline kvc_go_room_t kvc_go_reserve(uintptr_t handle, uint64_t k0, uint64_t k1, uint64_t k2,
                                           uint64_t k3, uint64_t bytes, kvc_go_info_t info) {
    const kvc_key_t key = kvc_go_key(k0, k1, k2, k3);
    kvc_reservation_t room = {0};
    const kvc_status_t status = kvc_reserve((const kvc_engine_t *)handle, &key, bytes, kvc_go_info(&info), &room);
    return (kvc_go_room_t){room.data, room.bytes, kvc_go_word(room.block.index, room.block.generation), status};
}

static inline kvc_reservation_t kvc_go_reservation(void *data, uint64_t bytes, uint64_t block) {
    return (kvc_reservation_t){.data = data, .bytes = bytes, .block = {(uint32_t)block, (uint32_t)(block >> 32)}};
}

static inline kvc_status_t kvc_go_commit(uintptr_t handle, void *data, uint64_t room, uint64_t block,
                                         uint64_t bytes) {
    const kvc_reservation_t reservation = kvc_go_reservation(data, room, block);
    return kvc_commit((const kvc_engine_t *)handle, &reservation, bytes);
}

static inline kvc_status_t kvc_go_abort(uintptr_t handle, void *data, uint64_t room, uint64_t block) {
    const kvc_reservation_t reservation = kvc_go_reservation(data, room, block);
    return kvc_abort((const kvc_engine_t *)handle, &reservation);
}

enum { KVC_GO_ITEMS_COUNT = 64 };

/* Gets or puts a batch whose blocks lie one behind the other in data, stride bytes apart; the last may be shorter. */
static inline kvc_go_count_t kvc_go_batch(uintptr_t handle, int is_put, const kvc_key_t *keys,
                                          uint64_t keys_count, uint8_t *data, uint64_t data_bytes, uint64_t stride,
                                          uint32_t flags, const kvc_put_info_t *info, kvc_go_result_t *results) {
    kvc_item_t few[KVC_GO_ITEMS_COUNT], *items = few;
    kvc_go_count_t answer = {0, 0};
    if (keys_count > KVC_GO_ITEMS_COUNT && (items = (kvc_item_t *)malloc(keys_count * sizeof *items)) == NULL)
        return (kvc_go_count_t){0, KVC_E_NO_MEMORY};
    for (uint64_t i = 0; i < keys_count; i++) {
        const uint64_t begin = i * stride;
        const uint64_t rest = data_bytes - begin;
        items[i] = (kvc_item_t){.key = keys[i], .data = data + begin, .bytes = rest < stride ? rest : stride};
    }
    answer.status = is_put ? kvc_put_many((const kvc_engine_t *)handle, items, keys_count, info, &answer.count)
                           : kvc_get_many((const kvc_engine_t *)handle, items, keys_count, flags, &answer.count);
    if (answer.status == KVC_OK)
        for (uint64_t i = 0; i < keys_count; i++)
            results[i] = (kvc_go_result_t){items[i].bytes_out, items[i].status, 0};
    if (items != few)
        free(items);
    return answer;
}

static inline kvc_go_count_t kvc_go_get_many(uintptr_t handle, const kvc_key_t *keys, uint64_t keys_count,
                                             uint8_t *target, uint64_t target_bytes, uint64_t stride, uint32_t flags,
                                             kvc_go_result_t *results) {
    return kvc_go_batch(handle, 0, keys, keys_count, target, target_bytes, stride, flags, NULL, results);
}

static inline kvc_go_count_t kvc_go_put_many(uintptr_t handle, const kvc_key_t *keys, uint64_t keys_count,
                                             uint8_t *source, uint64_t source_bytes, uint64_t stride,
                                             kvc_go_info_t info, kvc_go_result_t *results) {
    return kvc_go_batch(handle, 1, keys, keys_count, source, source_bytes, stride, 0, kvc_go_info(&info), results);
}

/* Does nothing; cgo checks what its argument points to. */
static inline void kvc_go_see(void **pointers) { (void)pointers; }

#endif
