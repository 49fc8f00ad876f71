// Memory stays flat over many rounds: what is lent is given back, and engines that are closed are gone.
//
// leak [ROUNDS [OPENS]]
#include <unistd.h>

#include "check.hpp"

namespace {

constexpr std::uint64_t block_bytes = 4096;

// Resident memory of this process.
std::uint64_t resident_bytes() {
    std::FILE *file = std::fopen("/proc/self/statm", "r");
    CHECK(file != nullptr);
    unsigned long all = 0, resident = 0;
    CHECK(std::fscanf(file, "%lu %lu", &all, &resident) == 2);
    std::fclose(file);
    return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

// One round of everything that lends, gives back and moves handles.
void round(const kvcache::engine &engine, const kvcache::lane &lane, std::uint64_t number) {
    static const auto block = block_of(0, block_bytes);
    static std::vector<std::uint8_t> copy(block_bytes);
    static std::vector<kvc_view_t> storage(4);
    const auto keys = keys_of(number % 64, 4);
    (void)engine.put(keys[0], block);
    CHECK(TAKE(engine.get(keys[0], copy)) == block_bytes);
    auto view = TAKE(engine.acquire(keys[0]));
    auto moved = std::move(view);
    const auto views = TAKE(engine.acquire_many(keys, storage));
    CHECK(!views.empty() && moved.size() == block_bytes);
    (void)engine.reserve(key_of(1000000 + number), block_bytes); // Given up at once.
    const auto ticket = TAKE(lane.submit(kvcache::operation::match(keys)));
    CHECK(TAKE(lane.wait(ticket)).result >= 1);
}

void open_and_close(const kvcache::config &config) {
    auto engine = open_of(config);
    auto other = std::move(engine);
    OK(other.put(key_of(1), block_of(1, 64)));
    const auto view = TAKE(other.acquire(key_of(1)));
    CHECK(view.size() == 64);
}

} // namespace

int main(int arguments_count, char **arguments) {
    const std::uint64_t rounds_count = arguments_count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 100000;
    const std::uint64_t opens_count = arguments_count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 100000;
    // Leaking one view of 32 bytes a round would be 3 MB; what the allocator keeps to itself is less than 1 MiB.
    const std::uint64_t growth_max = 1 << 20;

    auto engine = open_of(config_of(block_bytes, 256));
    {
        const auto lane = TAKE(engine.open_lane());
        for (std::uint64_t i = 0; i < rounds_count / 10; i++)
            round(engine, lane, i);
        const std::uint64_t before = resident_bytes();
        for (std::uint64_t i = 0; i < rounds_count; i++)
            round(engine, lane, i);
        const std::uint64_t after = resident_bytes();
        const auto stats = TAKE(engine.stats());
        CHECK(stats.pins_in_use == 0 && stats.blocks_reserved == 0);
        std::printf("leak: %lu rounds, %lu KiB before, %lu KiB after\n", rounds_count, before >> 10, after >> 10);
        CHECK(after <= before + growth_max);
    }
    OK(engine.close());

    // The smallest engine: opening obtains one mapping, and closing gives it back.
    auto small = config_of(64, 4);
    small.pins_count = 16, small.stripes_count = 1, small.lanes_count = KVC_NONE, small.events_count = KVC_NONE;
    for (std::uint64_t i = 0; i < opens_count / 10 + 10; i++)
        open_and_close(small);
    const std::uint64_t before = resident_bytes();
    for (std::uint64_t i = 0; i < opens_count; i++)
        open_and_close(small);
    const std::uint64_t after = resident_bytes();
    std::printf("leak: %lu times opened and closed, %lu KiB before, %lu KiB after\n", opens_count, before >> 10,
                after >> 10);
    CHECK(after <= before + growth_max);
    return 0;
}
