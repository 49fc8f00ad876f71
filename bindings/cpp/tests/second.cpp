// A second unit that includes the header: nothing in it is defined twice.
#include <kvcache.hpp>

std::uint64_t resident_count(const kvcache::engine &engine);

std::uint64_t resident_count(const kvcache::engine &engine) {
    const auto stats = engine.stats();
    return stats ? stats->blocks_resident : UINT64_MAX;
}
