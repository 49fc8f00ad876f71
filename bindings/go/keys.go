package kvcache

// #include "shim.h"
import "C"
import (
	"encoding/hex"
	"unsafe"
)

// Key is the name of a block: 32 opaque bytes, compared whole. Bring your own or derive them.
type Key [32]byte

// String is the key in hexadecimal.
func (k Key) String() string {
	return hex.EncodeToString(k[:])
}

// words are the key's bytes as what is passed to the library.
func (k *Key) words() *[4]C.uint64_t {
	return (*[4]C.uint64_t)(unsafe.Pointer(k))
}

func keysAt(keys []Key) *C.kvc_key_t {
	if len(keys) == 0 {
		return nil
	}
	return (*C.kvc_key_t)(unsafe.Pointer(&keys[0]))
}

func tokensAt(tokens []uint32) *C.uint32_t {
	if len(tokens) == 0 {
		return nil
	}
	return (*C.uint32_t)(unsafe.Pointer(&tokens[0]))
}

// must panics where a call fails that only a wrong pointer could make fail.
func must(status C.kvc_status_t) {
	if status != C.KVC_OK {
		panic(Status(status))
	}
}

// DeriveKey derives the key of any string of bytes within a namespace and under a salt; both may be empty.
func DeriveKey(namespaceID uint64, salt, data []byte) Key {
	var key Key
	must(C.kvc_key_derive(C.uint64_t(namespaceID), unsafe.Pointer(bytesAt(salt)), C.uint64_t(len(salt)),
		unsafe.Pointer(bytesAt(data)), C.uint64_t(len(data)), (*C.kvc_key_t)(unsafe.Pointer(&key))))
	return key
}

// ChainRoot derives the parent of the first block of every chain in this namespace and under this salt. Put into the
// salt what makes blocks differ beside their tokens: the model, its revision, an adapter, the geometry.
func ChainRoot(namespaceID uint64, salt []byte) Key {
	var key Key
	must(C.kvc_key_chain_root(C.uint64_t(namespaceID), unsafe.Pointer(bytesAt(salt)), C.uint64_t(len(salt)),
		(*C.kvc_key_t)(unsafe.Pointer(&key))))
	return key
}

// Chain derives the key of the block that holds these tokens and follows the block parent.
func Chain(parent Key, tokens []uint32) Key {
	var key Key
	must(C.kvc_key_chain((*C.kvc_key_t)(unsafe.Pointer(&parent)), tokensAt(tokens), C.uint64_t(len(tokens)),
		(*C.kvc_key_t)(unsafe.Pointer(&key))))
	return key
}

// ChainMany derives the keys of all full blocks of a prompt, the first one chained to parent. Tokens after the last
// full block have no key yet; to go on later, pass the last key as the parent and the tokens from there on.
//
// ErrArgument when tokensPerBlock is not positive.
func ChainMany(parent Key, tokens []uint32, tokensPerBlock int) ([]Key, error) {
	if tokensPerBlock <= 0 {
		return nil, ErrArgument
	}
	keys := make([]Key, len(tokens)/tokensPerBlock)
	var count C.uint64_t
	status := C.kvc_key_chain_many((*C.kvc_key_t)(unsafe.Pointer(&parent)), tokensAt(tokens), C.uint64_t(len(tokens)),
		C.uint64_t(tokensPerBlock), keysAt(keys), C.uint64_t(len(keys)), &count)
	if status != C.KVC_OK {
		return nil, Status(status)
	}
	return keys[:count], nil
}
