// Two requests share the beginning of their prompts: the second one finds the blocks of the first and computes only
// what is different.
//
// Each prompt is cut into blocks of 16 tokens, and each block's key is chained to the one before, so equal keys mean
// equal prompts up to there. Blocks go in without a copy (reserve, fill in place, commit) and come out without one
// (acquire). "Computing" is a function of the block's key here, so that every byte can be checked.
//
//     c++ -std=c++17 prefix_share.cpp $(pkg-config --cflags --libs kvcache) -o prefix_share && ./prefix_share
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <vector>

#include <kvcache.hpp>

namespace {

constexpr std::uint64_t tokens_per_block = 16;

// What a model would compute for the block.
std::byte computed(const kvcache::key &key, std::size_t place) {
    return static_cast<std::byte>(key.bytes[place % 32] + place / 32);
}

// Serves one request: takes what is there, computes and stores the rest. Returns how many blocks were computed.
std::uint64_t serve(const kvcache::engine &engine, std::uint64_t block_bytes,
                    const std::vector<std::uint32_t> &tokens) {
    // What makes the blocks of two models different belongs into the salt of the root.
    const auto root = kvcache::key::chain_root(0, std::string_view("llama-3.1-8b bf16 16x32x8x128")).value();
    std::vector<kvcache::key> keys(tokens.size() / tokens_per_block);
    const std::uint64_t keys_count = root.chain_many(tokens, tokens_per_block, keys).value();

    // The longest prefix that is there stays where it is until it is released.
    std::vector<kvc_view_t> storage(keys_count);
    const kvcache::views shared = engine.acquire_many(keys, storage).value();
    for (std::size_t i = 0; i < shared.size(); i++)
        for (std::size_t place = 0; place < shared[i].size(); place++)
            if (shared[i][place] != computed(keys[i], place)) {
                std::fprintf(stderr, "block %zu came back wrong\n", i);
                std::exit(1);
            }

    kvcache::put_info info;
    info.tokens_count = tokens_per_block;
    for (std::size_t i = shared.size(); i < keys_count; i++) {
        info.parent = i > 0 ? &keys[i - 1] : &root;
        info.chain_index = i;
        auto reserved = engine.reserve(keys[i], block_bytes, &info);
        if (reserved.code() == kvcache::status::exists || reserved.code() == kvcache::status::pending)
            continue; // Another request was quicker with this block.
        kvcache::reservation room = std::move(reserved).value();
        for (std::size_t place = 0; place < room.size(); place++)
            room.data()[place] = computed(keys[i], place);
        kvcache::ensure(room.commit());
    }
    std::printf("%3zu tokens: %2" PRIu64 " blocks, %2zu found, %2" PRIu64 " computed\n", tokens.size(), keys_count,
                shared.size(), keys_count - shared.size());
    return keys_count - shared.size();
}

int run() {
    kvcache::geometry geometry;
    geometry.layers_count = 4;
    geometry.kv_heads_count = 2;
    geometry.head_dim = 64;
    geometry.tokens_per_block = tokens_per_block;
    geometry.dtype = KVC_DTYPE_BF16;

    kvcache::config config;
    config.block_bytes = geometry.block_bytes().value();
    config.cpu_bytes = 64 * config.block_bytes;
    kvcache::engine engine = kvcache::engine::open(config).value();

    // One system prompt of 160 tokens, two questions.
    std::vector<std::uint32_t> first, second;
    for (std::uint32_t i = 0; i < 224; i++)
        first.push_back(1000 + i);
    for (std::uint32_t i = 0; i < 208; i++)
        second.push_back(i < 160 ? 1000 + i : 5000 + i);

    const std::uint64_t computed_first = serve(engine, config.block_bytes, first);
    const std::uint64_t computed_second = serve(engine, config.block_bytes, second);
    const std::uint64_t computed_again = serve(engine, config.block_bytes, first);
    kvcache::ensure(engine.close());
    if (computed_first != 14 || computed_second != 3 || computed_again != 0)
        return 1;
    std::printf("prefix_share: ok\n");
    return 0;
}

} // namespace

int main() {
    try {
        return run();
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
