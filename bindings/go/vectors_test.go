package kvcache

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// unhex are the bytes of a hexadecimal field; "-" is none.
func unhex(t *testing.T, field string) []byte {
	t.Helper()
	if field == "-" {
		return nil
	}
	data, err := hex.DecodeString(field)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func number(t *testing.T, field string) uint64 {
	t.Helper()
	value, err := strconv.ParseUint(field, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func tokensOf(t *testing.T, field string) []uint32 {
	data := unhex(t, field)
	tokens := make([]uint32, len(data)/4)
	for i := range tokens {
		tokens[i] = binary.BigEndian.Uint32(data[4*i:])
	}
	return tokens
}

// The key functions give what an independent implementation gave.
func TestVectors(t *testing.T) {
	file, err := os.Open("../../tests/vectors/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	count := map[string]int{}
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		fields := strings.Fields(lines.Text())
		want, got := unhex(t, fields[len(fields)-1]), []byte(nil)
		switch fields[0] {
		case "derive":
			key := DeriveKey(number(t, fields[1]), unhex(t, fields[2]), unhex(t, fields[3]))
			got = key[:]
		case "root":
			key := ChainRoot(number(t, fields[1]), unhex(t, fields[2]))
			got = key[:]
		case "chain":
			var parent Key
			copy(parent[:], unhex(t, fields[1]))
			key := Chain(parent, tokensOf(t, fields[2]))
			got = key[:]
		case "many":
			var parent Key
			copy(parent[:], unhex(t, fields[1]))
			keys, err := ChainMany(parent, tokensOf(t, fields[3]), int(number(t, fields[2])))
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				got = append(got, key[:]...)
			}
		default:
			t.Fatalf("what is %q?", fields[0])
		}
		if string(got) != string(want) {
			t.Errorf("%s: %x instead of %x", fields[0], got, want)
		}
		count[fields[0]]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"derive", "root", "chain", "many"} {
		if count[kind] == 0 {
			t.Errorf("no vectors of kind %q", kind)
		}
	}
	t.Log(count)
}
