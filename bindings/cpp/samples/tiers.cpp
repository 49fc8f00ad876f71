// A cache of three tiers: memory, an NVMe file, a disk file. Put more than memory holds, flush, close; open again and
// find every block. Written with the throwing layer: value and ensure end the program with a message.
//
//     c++ -std=c++17 tiers.cpp $(pkg-config --cflags --libs kvcache) -o tiers && ./tiers
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <stdlib.h>

#include <kvcache.hpp>

namespace {

constexpr std::uint64_t block_bytes = 64 << 10;
constexpr std::uint64_t blocks_count = 256;

// A new folder, removed at the end.
struct folder {
    std::string path;
    folder() : path((std::filesystem::temp_directory_path() / "kvcache-tiers-XXXXXX").string()) {
        if (mkdtemp(path.data()) == nullptr)
            throw std::runtime_error("no temporary folder");
    }
    ~folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    folder(const folder &) = delete;
    folder &operator=(const folder &) = delete;
};

kvcache::key key_of(std::uint64_t number) {
    return kvcache::key::derive(0, std::string_view("tiers"), kvcache::bytes_in(&number, sizeof number)).value();
}

std::byte byte_of(std::uint64_t number, std::uint64_t place) {
    return static_cast<std::byte>((number * 0x9e3779b97f4a7c15u + place * 0xc2b2ae3d27d4eb4fu) >> 56);
}

kvcache::engine open(const std::string &nvme, const std::string &disk) {
    kvcache::config config;
    config.block_bytes = block_bytes;
    config.cpu_bytes = 64 * block_bytes;
    config.nvme_path = nvme.c_str();
    config.nvme_bytes = 32 << 20;
    config.disk_path = disk.c_str();
    config.disk_bytes = 64 << 20;
    return kvcache::engine::open(config).value();
}

int run() {
    const folder folder;
    const std::string nvme = folder.path + "/nvme", disk = folder.path + "/disk";
    std::vector<std::byte> block(block_bytes);

    {
        kvcache::engine engine = open(nvme, disk);
        for (std::uint64_t number = 0; number < blocks_count; number++) {
            for (std::uint64_t place = 0; place < block_bytes; place++)
                block[place] = byte_of(number, place);
            kvcache::ensure(engine.put(key_of(number), block));
        }
        const auto slots_count = engine.stats().value().slots_count;
        std::printf("put      %" PRIu64 " blocks, memory holds %" PRIu64 "\n", blocks_count, slots_count);
        const auto flushed = engine.flush();
        std::printf("flush    %s\n", name(flushed.code()));
        kvcache::ensure(flushed.code());
        const kvcache::status closed = engine.close();
        std::printf("close    %s\n", name(closed));
        kvcache::ensure(closed);
    }

    kvcache::engine engine = open(nvme, disk);
    std::uint64_t found = 0, wrong = 0;
    for (std::uint64_t number = 0; number < blocks_count; number++) {
        const auto view = engine.acquire(key_of(number));
        if (!view)
            continue;
        found++;
        for (std::uint64_t place = 0; place < block_bytes; place++)
            if (view->size() != block_bytes || view->data()[place] != byte_of(number, place)) {
                wrong++;
                break;
            }
    }
    std::printf("reopen   %" PRIu64 " of %" PRIu64 " blocks found, %" PRIu64 " wrong\n", found, blocks_count, wrong);
    kvcache::ensure(engine.close());
    if (found != blocks_count || wrong != 0)
        return 1;
    std::printf("tiers: ok\n");
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
