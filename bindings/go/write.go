package kvcache

// #include "shim.h"
import "C"
import (
	"runtime"
	"unsafe"
)

// c is the info as the shim takes it; no info is one of size 0.
func (s *PutInfo) c() C.kvc_go_info_t {
	var info C.kvc_go_info_t
	if s == nil {
		return info
	}
	info.info.struct_size = C.sizeof_kvc_put_info_t
	s.fill(&info.info)
	if s.Parent != nil {
		info.parent = *(*C.kvc_key_t)(unsafe.Pointer(s.Parent))
		info.parent_is_set = 1
	}
	return info
}

// Put stores a block. info may be nil.
//
// ErrExists when it is resident already; ErrPending while another producer fills it; ErrAgain when everything is held;
// ErrTooLarge; ErrArgument for 0 bytes and for values of info outside their range.
func (e *Engine) Put(key Key, source []byte, info *PutInfo) error {
	defer runtime.KeepAlive(e)
	k := key.words()
	if info == nil {
		return asError(C.kvc_go_put(e.address, k[0], k[1], k[2], k[3], someAt(source), C.uint64_t(len(source))))
	}
	return asError(C.kvc_go_put_info(e.address, k[0], k[1], k[2], k[3], someAt(source), C.uint64_t(len(source)), info.c()))
}

var nothing [1]byte

// someAt is where a slice's bytes are, and somewhere for an empty one: the library then refuses its length.
func someAt(data []byte) *C.uint8_t {
	if len(data) == 0 {
		return (*C.uint8_t)(unsafe.Pointer(&nothing[0]))
	}
	return bytesAt(data)
}

// PutMany stores a chain of blocks, in order: block i is source[i*stride:], stride bytes of it, the last one what is
// left. Each block's parent is the one before it, and the first one's that of info, which says the rest about all of
// them and may be nil. What became of each is in results; it returns how many were stored.
//
// Blocks that exist or are pending are passed over. At the first that cannot be stored for another reason the batch
// ends, and those after it get ErrCancelled.
func (e *Engine) PutMany(keys []Key, source []byte, stride int, info *PutInfo, results []Result) (int, error) {
	defer runtime.KeepAlive(e)
	if len(keys) == 0 {
		return 0, nil
	}
	if err := batch(keys, source, stride, results); err != nil {
		return 0, err
	}
	return countOf(C.kvc_go_put_many(e.address, keysAt(keys), C.uint64_t(len(keys)), bytesAt(source),
		C.uint64_t(len(source)), C.uint64_t(stride), info.c(), resultsAt(results)))
}

// Reservation is room for a block that the engine lends to its producer until Commit or Abort. It is a small value that
// may be copied; the copies are one reservation.
type Reservation struct {
	engine *Engine
	data   unsafe.Pointer
	bytes  uint64
	block  uint64
}

// Reserve lends room for a block of this length. Fill Bytes, then Commit, or give it up with Abort. Until then the
// block is not resident, and other producers of the same key get ErrPending. info may be nil.
//
// Errors as Put.
func (e *Engine) Reserve(key Key, bytes int, info *PutInfo) (Reservation, error) {
	defer runtime.KeepAlive(e)
	if bytes < 0 {
		return Reservation{}, ErrArgument
	}
	k := key.words()
	room := C.kvc_go_reserve(e.address, k[0], k[1], k[2], k[3], C.uint64_t(bytes), info.c())
	if room.status != C.KVC_OK {
		return Reservation{}, Status(room.status)
	}
	return Reservation{e, room.data, uint64(room.bytes), uint64(room.block)}, nil
}

// Bytes are where the block's bytes go, in place. What is there before is undefined; not to be used after Commit or
// Abort.
func (r Reservation) Bytes() []byte {
	return unsafe.Slice((*byte)(r.data), int(r.bytes))
}

// Memory is the same as Memory.
func (r Reservation) Memory() Memory {
	return Memory{data: r.data, bytes: r.bytes}
}

// Commit makes the block readable. bytes is how many were filled in, from the beginning; 0 means all.
//
// ErrStale when it was committed or aborted already, or expired; ErrTooLarge for more bytes than were reserved.
func (r Reservation) Commit(bytes int) error {
	if r.engine == nil {
		return ErrStale
	}
	if bytes < 0 {
		return ErrArgument
	}
	status := C.kvc_go_commit(r.engine.address, r.data, C.uint64_t(r.bytes), C.uint64_t(r.block), C.uint64_t(bytes))
	runtime.KeepAlive(r.engine)
	return asError(status)
}

// Abort gives the reservation up. ErrStale when it was committed or aborted already, or expired: so that
// defer reservation.Abort() does no harm after a Commit.
func (r Reservation) Abort() error {
	if r.engine == nil {
		return ErrStale
	}
	status := C.kvc_go_abort(r.engine.address, r.data, C.uint64_t(r.bytes), C.uint64_t(r.block))
	runtime.KeepAlive(r.engine)
	return asError(status)
}

// Remove removes blocks from all tiers, and returns how many were there. A block that somebody holds goes once its last
// view is released.
func (e *Engine) Remove(keys []Key) (int, error) {
	defer runtime.KeepAlive(e)
	var count C.uint64_t
	status := C.kvc_remove(e.handle, keysAt(keys), C.uint64_t(len(keys)), &count)
	return int(count), asError(status)
}

// Touch counts blocks as used now, without reading them, and returns how many were resident.
func (e *Engine) Touch(keys []Key) (int, error) {
	defer runtime.KeepAlive(e)
	var count C.uint64_t
	status := C.kvc_touch(e.handle, keysAt(keys), C.uint64_t(len(keys)), &count)
	return int(count), asError(status)
}

// Retain changes how long resident blocks are kept: priority is 0 (evicted first) to 100, expiryMs milliseconds from
// now after which it and the protection lapse, 0 for never. It returns how many were resident.
func (e *Engine) Retain(keys []Key, priority uint32, expiryMs uint64, flags RetainFlags) (int, error) {
	defer runtime.KeepAlive(e)
	var count C.uint64_t
	status := C.kvc_retain(e.handle, keysAt(keys), C.uint64_t(len(keys)), C.uint32_t(priority), C.uint64_t(expiryMs),
		C.uint32_t(flags), &count)
	return int(count), asError(status)
}

// NamespaceClear removes every block that was put with this namespace, and returns how many there were.
func (e *Engine) NamespaceClear(namespaceID uint64) (int, error) {
	defer runtime.KeepAlive(e)
	var count C.uint64_t
	status := C.kvc_namespace_clear(e.handle, C.uint64_t(namespaceID), &count)
	return int(count), asError(status)
}

// NamespaceQualitySet bounds how much the blocks of a namespace may lose in the file tiers, in thousandths; None takes
// the bound back. ErrUnsupported without a file tier; ErrAgain when 64 namespaces have had a bound.
func (e *Engine) NamespaceQualitySet(namespaceID, errorMaxPermille uint64) error {
	defer runtime.KeepAlive(e)
	return asError(C.kvc_namespace_quality_set(e.handle, C.uint64_t(namespaceID), C.uint64_t(errorMaxPermille)))
}

// ImportanceBegin begins a new importance table beside the one in use, for PolicyImportance. ErrAgain while another
// goroutine is in one of the three calls; ErrUnsupported where ImportanceCount of the Config is 0.
func (e *Engine) ImportanceBegin() error {
	defer runtime.KeepAlive(e)
	return asError(C.kvc_importance_begin(e.handle))
}

// ImportanceSet sets the importance of keys in the table that was begun. ErrStale when none was; ErrTooLarge for more
// different keys than it holds; ErrArgument when the slices are not of one length.
func (e *Engine) ImportanceSet(keys []Key, importances []uint32) error {
	defer runtime.KeepAlive(e)
	if len(keys) != len(importances) {
		return ErrArgument
	}
	return asError(C.kvc_importance_set(e.handle, keysAt(keys), tokensAt(importances), C.uint64_t(len(keys))))
}

// ImportanceSwap puts the table that was begun in the place of the one in use. ErrStale when none was.
func (e *Engine) ImportanceSwap() error {
	defer runtime.KeepAlive(e)
	return asError(C.kvc_importance_swap(e.handle))
}
