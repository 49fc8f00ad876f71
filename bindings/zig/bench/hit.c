/* The loop that bench/hit.zig runs through the binding, in C. Compiled into the same program, by the same compiler. */
#include "kvcache.h"

/* Acquires and releases each of the blocks in turn; returns a sum of their first bytes, or UINT64_MAX on a failure. */
uint64_t hit_c(const kvc_engine_t *engine, const kvc_key_t *keys, uint64_t keys_count, uint64_t hits_count) {
    uint64_t sum = 0;
    for (uint64_t i = 0, place = 0; i < hits_count; i++) {
        kvc_view_t view;
        if (kvc_acquire(engine, &keys[place], 0, &view) != KVC_OK)
            return UINT64_MAX;
        sum += *(const uint8_t *)view.data;
        if (kvc_release(engine, &view) != KVC_OK)
            return UINT64_MAX;
        place = place + 1 < keys_count ? place + 1 : 0;
    }
    return sum;
}
