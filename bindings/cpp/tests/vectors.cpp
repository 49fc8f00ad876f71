// The key functions give what an independent implementation gave: tests/vectors/keys.txt, line by line.
//
// vectors FILE
#include <fstream>
#include <sstream>

#include "check.hpp"

namespace {

// The bytes of a hexadecimal field; "-" is none.
std::vector<std::uint8_t> bytes_of(const std::string &text) {
    std::vector<std::uint8_t> bytes;
    if (text == "-")
        return bytes;
    CHECK(text.size() % 2 == 0);
    for (std::size_t place = 0; place < text.size(); place += 2)
        bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(place, 2), nullptr, 16)));
    return bytes;
}

std::vector<kvcache::key> keys_field(const std::string &text) {
    const auto bytes = bytes_of(text);
    CHECK(bytes.size() % sizeof(kvcache::key) == 0);
    std::vector<kvcache::key> keys(bytes.size() / sizeof(kvcache::key));
    if (!keys.empty())
        std::memcpy(keys[0].bytes, bytes.data(), bytes.size());
    return keys;
}

// Tokens of eight digits each.
std::vector<std::uint32_t> tokens_of(const std::string &text) {
    std::vector<std::uint32_t> tokens;
    for (std::size_t place = 0; text != "-" && place < text.size(); place += 8)
        tokens.push_back(static_cast<std::uint32_t>(std::stoul(text.substr(place, 8), nullptr, 16)));
    return tokens;
}

std::uint64_t number_of(const std::string &text) { return std::stoull(text, nullptr, 16); }

} // namespace

int main(int arguments_count, char **arguments) {
    CHECK(arguments_count == 2);
    std::ifstream file(arguments[1]);
    CHECK(file.is_open());
    unsigned lines_count = 0;
    for (std::string line; std::getline(file, line);) {
        if (line.empty() || line[0] == '#')
            continue;
        std::istringstream words(line);
        std::vector<std::string> fields;
        for (std::string word; words >> word;)
            fields.push_back(word);
        kvcache::key made;
        if (fields[0] == "derive" && fields.size() == 5) {
            made = TAKE(kvcache::key::derive(number_of(fields[1]), bytes_of(fields[2]), bytes_of(fields[3])));
        } else if (fields[0] == "root" && fields.size() == 4) {
            made = TAKE(kvcache::key::chain_root(number_of(fields[1]), bytes_of(fields[2])));
        } else if (fields[0] == "chain" && fields.size() == 4) {
            made = TAKE(keys_field(fields[1]).at(0).chain(tokens_of(fields[2])));
        } else {
            CHECK(fields[0] == "many" && fields.size() == 5);
            const auto expected = keys_field(fields[4]);
            std::vector<kvcache::key> keys(expected.size() + 1);
            const auto count =
                TAKE(keys_field(fields[1]).at(0).chain_many(tokens_of(fields[3]), number_of(fields[2]), keys));
            keys.resize(count);
            CHECK(keys == expected);
            lines_count++;
            continue;
        }
        CHECK(made == keys_field(fields.back()).at(0));
        lines_count++;
    }
    CHECK(lines_count > 100);
    std::printf("vectors: %u keys as expected\n", lines_count);
    return 0;
}
