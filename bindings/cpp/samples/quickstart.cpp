// Open an engine, put a block, read it back twice, close.
//
//     c++ -std=c++17 quickstart.cpp $(pkg-config --cflags --libs kvcache) -o quickstart && ./quickstart
#include <cinttypes>
#include <cstdio>
#include <string_view>

#include <kvcache.hpp>

int main() {
    kvcache::config config;
    config.block_bytes = 64 << 10;
    config.cpu_bytes = 64 << 20;

    auto opened = kvcache::engine::open(config);
    if (!opened) {
        std::fprintf(stderr, "%s\n", opened.error().message);
        return 1;
    }
    kvcache::engine engine = std::move(*opened);

    const std::string_view text = "hello, cache";
    const auto key = kvcache::key::derive(0, {}, std::string_view("greeting"));
    if (!key || engine.put(*key, text) != kvcache::status::ok)
        return 1;

    // A copy.
    char buffer[64];
    const auto got = engine.get(*key, buffer);
    const std::string_view copied(buffer, got ? *got : 0);
    std::printf("get      %s, %zu bytes: %.*s\n", name(got.code()), copied.size(), int(copied.size()), copied.data());

    // The block itself, in place; given back at the end of the braces.
    bool same = copied == text;
    {
        const auto view = engine.acquire(*key);
        const auto letters = view ? view->as<char>() : kvcache::span<const char>();
        const std::string_view lent(letters.data(), letters.size());
        std::printf("acquire  %s, %zu bytes: %.*s\n", name(view.code()), lent.size(), int(lent.size()), lent.data());
        same = same && lent == text;
    }

    const auto stats = engine.stats();
    if (!stats)
        return 1;
    std::printf("stats    %" PRIu64 " of %" PRIu64 " blocks, %" PRIu64 " hit by get, %" PRIu64 " acquired\n",
                stats->blocks_resident, stats->slots_count, stats->get_hits, stats->acquires);

    const kvcache::status closed = engine.close();
    std::printf("close    %s\n", name(closed));
    if (!same || closed != kvcache::status::ok)
        return 1;
    std::printf("quickstart: ok\n");
    return 0;
}
