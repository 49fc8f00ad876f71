// What C++ adds to a hit: acquire and release of a block in memory through kvcache.hpp, and through kvcache.h in the
// same process, in turns. One line of JSON.
//
// Each pair runs both, a few hundred microseconds each, in an order that changes; the difference of a pair is free of
// what changes more slowly (clock, neighbours), and its median of what is odd. The C side is what a C program writes.
//
//     c++ -std=c++17 -O2 acquire.cpp $(pkg-config --cflags --libs kvcache) -o acquire && ./acquire [PAIRS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <kvcache.hpp>

namespace {

constexpr std::size_t keys_count = 1024, calls_count = 4096;

// The compiler must suppose that the value is used.
template <class T> void used(const T &value) { asm volatile("" : : "r"(value) : "memory"); }

[[gnu::noinline]] std::uint64_t through_c(const kvc_engine_t *engine, const std::vector<kvcache::key> &keys) {
    std::uint64_t hits = 0;
    for (std::size_t i = 0; i < calls_count; i++) {
        kvc_view_t view;
        if (kvc_acquire(engine, &keys[i % keys_count], 0, &view) == KVC_OK) {
            used(view.data);
            hits += kvc_release(engine, &view) == KVC_OK;
        }
    }
    return hits;
}

[[gnu::noinline]] std::uint64_t through_cpp(const kvcache::engine &engine, const std::vector<kvcache::key> &keys) {
    std::uint64_t hits = 0;
    for (std::size_t i = 0; i < calls_count; i++) {
        if (auto view = engine.acquire(keys[i % keys_count])) {
            used(view->data());
            hits += view->release() == kvcache::status::ok;
        }
    }
    return hits;
}

// The same, where the destructor gives the block back.
[[gnu::noinline]] std::uint64_t through_raii(const kvcache::engine &engine, const std::vector<kvcache::key> &keys) {
    std::uint64_t hits = 0;
    for (std::size_t i = 0; i < calls_count; i++) {
        if (const auto view = engine.acquire(keys[i % keys_count])) {
            used(view->data());
            hits++;
        }
    }
    return hits;
}

template <class Run> double ns_per_call(Run run) {
    const auto before = std::chrono::steady_clock::now();
    if (run() != calls_count) {
        std::fprintf(stderr, "not every call was a hit\n");
        std::exit(1);
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - before;
    return took.count() / static_cast<double>(calls_count);
}

double quantile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

} // namespace

int main(int arguments_count, char **arguments) {
    const std::size_t pairs_count = arguments_count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 2000;
    kvcache::config config;
    config.block_bytes = 4096;
    config.cpu_bytes = 4096 * 2 * keys_count;
    const auto opened = kvcache::engine::open(config);
    if (!opened) {
        std::fprintf(stderr, "%s\n", opened.error().message);
        return 1;
    }
    const kvcache::engine &engine = *opened;
    std::vector<kvcache::key> keys;
    const std::vector<std::byte> block(4096);
    for (std::size_t i = 0; i < keys_count; i++) {
        const auto key = kvcache::key::derive(0, {}, kvcache::bytes_in(&i, sizeof i));
        if (!key || engine.put(*key, block) != kvcache::status::ok)
            return 1;
        keys.push_back(*key);
    }

    const auto c = [&] { return through_c(engine.handle(), keys); };
    const auto cpp = [&] { return through_cpp(engine, keys); };
    const auto raii = [&] { return through_raii(engine, keys); };
    std::vector<double> of_c, of_cpp, of_raii, over, over_raii, over_itself;
    for (std::size_t i = 0; i < pairs_count + pairs_count / 10; i++) {
        double times[4] = {};
        for (std::size_t turn = 0; turn < 4; turn++) {
            const std::size_t which = (turn + i) % 4;
            times[which] = which == 1 ? ns_per_call(cpp) : which == 2 ? ns_per_call(raii) : ns_per_call(c);
        }
        if (i < pairs_count / 10)
            continue; // The first ones warm caches, clock and branches up.
        of_c.push_back(times[0]), of_cpp.push_back(times[1]), of_raii.push_back(times[2]);
        over.push_back(times[1] - times[0]), over_raii.push_back(times[2] - times[0]);
        over_itself.push_back(times[3] - times[0]);
    }
    std::printf("{\"bench\": \"cpp_acquire_release\", \"pairs\": %zu, \"calls_per_pair\": %zu, \"c_ns\": %.2f, "
                "\"cpp_ns\": %.2f, \"cpp_raii_ns\": %.2f, \"cpp_over_c_ns\": %.2f, \"cpp_raii_over_c_ns\": %.2f, "
                "\"c_over_c_ns\": %.2f, \"cpp_over_c_ns_p25\": %.2f, \"cpp_over_c_ns_p75\": %.2f}\n",
                pairs_count, calls_count, quantile(of_c, 0.5), quantile(of_cpp, 0.5), quantile(of_raii, 0.5),
                quantile(over, 0.5), quantile(over_raii, 0.5), quantile(over_itself, 0.5), quantile(over, 0.25),
                quantile(over, 0.75));
    return 0;
}
