// Links, loads the library that it was made for, and stores a block.
#include <kvcache.hpp>

int main() {
    kvcache::config config;
    config.block_bytes = 64;
    config.cpu_bytes = 64 * 16;
    const auto engine = kvcache::engine::open(config);
    const auto key = kvcache::key::derive(0, {}, std::string_view("cmake"));
    if (!kvcache::abi_matches() || !engine || !key)
        return 1;
    return engine->put(*key, std::string_view("hello")) == kvcache::status::ok && engine->contains(*key) ? 0 : 1;
}
