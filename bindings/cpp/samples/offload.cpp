// An inference engine hands its paged keys and values to the cache and takes them back into other pages.
//
// The pages are those of vLLM with FlashAttention, [2][page][token][head][element] for each layer. Gather copies the
// pages of one block straight into room that the cache lends; scatter copies straight out of the block that it lends.
//
//     c++ -std=c++17 offload.cpp $(pkg-config --cflags --libs kvcache) -o offload && ./offload
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string_view>
#include <vector>

#include <kvcache.hpp>

namespace {

constexpr std::uint64_t layers_count = 4, heads_count = 2, head_dim = 64, tokens_per_block = 32;
constexpr std::uint64_t pages_count = 64, tokens_per_page = 16, pages_per_block = tokens_per_block / tokens_per_page;
constexpr std::uint64_t page_elements = tokens_per_page * heads_count * head_dim;
constexpr std::uint64_t blocks_count = 8;

// What a model would compute: different for each layer, plane, token and element of each block.
std::uint16_t computed(std::uint64_t block, std::uint64_t layer, std::uint64_t plane, std::uint64_t place) {
    const std::uint64_t number = ((block * layers_count + layer) * 2 + plane) * pages_per_block * page_elements + place;
    return static_cast<std::uint16_t>((number + 1) * 0x9e3779b97f4a7c15u >> 48);
}

// The element of a plane at this place of its page.
std::size_t index(std::uint64_t plane, std::uint64_t page, std::uint64_t place) {
    return (plane * pages_count + page) * page_elements + place;
}

int run() {
    kvcache::geometry geometry;
    geometry.layers_count = layers_count;
    geometry.kv_heads_count = heads_count;
    geometry.head_dim = head_dim;
    geometry.tokens_per_block = tokens_per_block;
    geometry.dtype = KVC_DTYPE_BF16;
    const std::uint64_t block_bytes = geometry.block_bytes().value();

    kvcache::config config;
    config.block_bytes = block_bytes;
    config.cpu_bytes = 16 * block_bytes;
    config.geometries = &geometry;
    config.geometries_count = 1;
    kvcache::engine engine = kvcache::engine::open(config).value();

    std::vector<std::vector<std::uint16_t>> layers(layers_count);
    std::vector<void *> buffers;
    for (auto &layer : layers) {
        layer.resize(2 * pages_count * page_elements);
        buffers.push_back(layer.data());
    }
    kvcache::paged paged;
    paged.pages_count = pages_count;
    paged.tokens_per_page = tokens_per_page;
    paged.order = KVC_ORDER_NHD;
    paged.planes = KVC_PLANES_OUTER;
    paged.keys = buffers.data();
    paged.keys_count = buffers.size();

    // The block table of the request: its pages are strewn over the pool.
    std::vector<std::uint32_t> table, table_later;
    for (std::uint32_t i = 0; i < blocks_count * pages_per_block; i++) {
        table.push_back(i * 37 % pages_count);
        table_later.push_back((i * 29 + 5) % pages_count);
    }
    const auto part = [](const std::vector<std::uint32_t> &whole, std::uint64_t block) {
        return kvcache::span<const std::uint32_t>(&whole[block * pages_per_block], pages_per_block);
    };

    // The model computes the prompt.
    for (std::uint64_t block = 0; block < blocks_count; block++)
        for (std::uint64_t layer = 0; layer < layers_count; layer++)
            for (std::uint64_t plane = 0; plane < 2; plane++)
                for (std::uint64_t place = 0; place < pages_per_block * page_elements; place++) {
                    const std::uint32_t page = part(table, block)[place / page_elements];
                    layers[layer][index(plane, page, place % page_elements)] = computed(block, layer, plane, place);
                }

    // Offload: pages to blocks.
    std::vector<std::uint32_t> tokens(blocks_count * tokens_per_block);
    for (std::size_t i = 0; i < tokens.size(); i++)
        tokens[i] = static_cast<std::uint32_t>(1000 + i);
    const auto root = kvcache::key::chain_root(0, std::string_view("offload")).value();
    std::vector<kvcache::key> keys(blocks_count);
    kvcache::ensure(root.chain_many(tokens, tokens_per_block, keys).code());
    kvcache::put_info info;
    info.geometry_id = 1;
    info.tokens_count = tokens_per_block;
    for (std::uint64_t block = 0; block < blocks_count; block++) {
        info.parent = block > 0 ? &keys[block - 1] : &root;
        info.chain_index = block;
        kvcache::reservation room = engine.reserve(keys[block], block_bytes, &info).value();
        kvcache::ensure(kvcache::gather(geometry, paged, part(table, block), 0, room));
        kvcache::ensure(room.commit());
    }
    std::printf("offload  %" PRIu64 " blocks of %" PRIu64 " bytes from %zu pages\n", blocks_count, block_bytes,
                table.size());

    // The request was preempted and its pages went to others; it comes back with other pages.
    for (auto &layer : layers)
        std::fill(layer.begin(), layer.end(), std::uint16_t{0xffff});
    std::vector<kvc_view_t> storage(blocks_count);
    {
        const kvcache::views views = engine.acquire_many(keys, storage).value();
        if (views.size() != blocks_count)
            return 1;
        for (std::uint64_t block = 0; block < blocks_count; block++)
            kvcache::ensure(kvcache::scatter(geometry, paged, part(table_later, block), 0, views[block]));
    }
    std::printf("load     %" PRIu64 " blocks into %zu other pages\n", blocks_count, table_later.size());

    std::uint64_t wrong = 0;
    for (std::uint64_t block = 0; block < blocks_count; block++)
        for (std::uint64_t layer = 0; layer < layers_count; layer++)
            for (std::uint64_t plane = 0; plane < 2; plane++)
                for (std::uint64_t place = 0; place < pages_per_block * page_elements; place++) {
                    const std::uint32_t page = part(table_later, block)[place / page_elements];
                    wrong += layers[layer][index(plane, page, place % page_elements)] !=
                             computed(block, layer, plane, place);
                }
    std::printf("verify   %" PRIu64 " elements wrong\n", wrong);
    kvcache::ensure(engine.close());
    if (wrong != 0)
        return 1;
    std::printf("offload: ok\n");
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
