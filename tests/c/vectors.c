/* The key functions give what an independent implementation gave: tests/vectors/keys.txt, line by line.
 *
 * vectors FILE */
#define _GNU_SOURCE
#include <inttypes.h>

#include "check.h"

enum { LINE_BYTES_MAX = 16384 };

static int digit(char character) {
    if (character >= '0' && character <= '9')
        return character - '0';
    CHECK(character >= 'a' && character <= 'f');
    return character - 'a' + 10;
}

/* The bytes of a hexadecimal field; "-" is none. */
static uint64_t bytes_of(const char *text, uint8_t *target) {
    if (strcmp(text, "-") == 0)
        return 0;
    uint64_t length = strlen(text);
    CHECK(length % 2 == 0);
    for (uint64_t place = 0; place < length / 2; place++)
        target[place] = (uint8_t)(digit(text[2 * place]) << 4 | digit(text[2 * place + 1]));
    return length / 2;
}

static kvc_key_t key_field(const char *text) {
    kvc_key_t key;
    CHECK(strlen(text) == 2 * sizeof key.bytes);
    bytes_of(text, key.bytes);
    return key;
}

/* Tokens of eight digits each. */
static uint64_t tokens_of(const char *text, uint32_t *target) {
    static uint8_t bytes[LINE_BYTES_MAX];
    uint64_t count = bytes_of(text, bytes);
    CHECK(count % 4 == 0);
    for (uint64_t i = 0; i < count / 4; i++)
        target[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 | (uint32_t)bytes[4 * i + 2] << 8 |
                    bytes[4 * i + 3];
    return count / 4;
}

int main(int arguments_count, char **arguments) {
    static char line[LINE_BYTES_MAX + 2];
    static uint8_t salt[LINE_BYTES_MAX], data[LINE_BYTES_MAX];
    static uint32_t tokens[LINE_BYTES_MAX];
    static kvc_key_t keys[LINE_BYTES_MAX / 32], expected[LINE_BYTES_MAX / 32];
    CHECK(arguments_count == 2);
    FILE *file = fopen(arguments[1], "r");
    CHECK(file != NULL);
    unsigned long lines_count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        char *fields[6] = {0};
        int fields_count = 0;
        for (char *field = strtok(line, " \n"); field != NULL && fields_count < 6; field = strtok(NULL, " \n"))
            fields[fields_count++] = field;
        kvc_key_t key;
        if (strcmp(fields[0], "derive") == 0) {
            CHECK(fields_count == 5);
            uint64_t salt_bytes = bytes_of(fields[2], salt), data_bytes = bytes_of(fields[3], data);
            OK(kvc_key_derive(strtoull(fields[1], NULL, 16), salt, salt_bytes, data, data_bytes, &key));
        } else if (strcmp(fields[0], "root") == 0) {
            CHECK(fields_count == 4);
            OK(kvc_key_chain_root(strtoull(fields[1], NULL, 16), salt, bytes_of(fields[2], salt), &key));
        } else if (strcmp(fields[0], "chain") == 0) {
            CHECK(fields_count == 4);
            kvc_key_t parent = key_field(fields[1]);
            OK(kvc_key_chain(&parent, tokens, tokens_of(fields[2], tokens), &key));
        } else {
            CHECK(strcmp(fields[0], "many") == 0 && fields_count == 5);
            kvc_key_t parent = key_field(fields[1]);
            uint64_t tokens_count = tokens_of(fields[3], tokens), keys_count = 0;
            uint64_t expected_bytes = bytes_of(fields[4], (uint8_t *)expected);
            OK(kvc_key_chain_many(&parent, tokens, tokens_count, strtoull(fields[2], NULL, 16), keys, COUNT(keys),
                                  &keys_count));
            CHECK(keys_count * sizeof(kvc_key_t) == expected_bytes && memcmp(keys, expected, expected_bytes) == 0);
            lines_count++;
            continue;
        }
        kvc_key_t last = key_field(fields[fields_count - 1]);
        CHECK(memcmp(&key, &last, sizeof key) == 0);
        lines_count++;
    }
    fclose(file);
    CHECK(lines_count > 100);
    printf("vectors: %lu keys as expected\n", lines_count);
    return 0;
}
