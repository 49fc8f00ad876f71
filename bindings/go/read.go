package kvcache

// #include "shim.h"
import "C"
import (
	"context"
	"runtime"
	"time"
	"unsafe"
)

// Match counts the keys at the beginning of the list whose blocks are resident: the longest resident prefix, in
// whichever tiers. The answer is a snapshot; to keep the blocks, use AcquireMany.
func (e *Engine) Match(keys []Key, flags MatchFlags) (int, error) {
	defer runtime.KeepAlive(e)
	return countOf(C.kvc_go_match(e.address, keysAt(keys), C.uint64_t(len(keys)), C.uint32_t(flags)))
}

// MatchEach says for each key in which tiers its block is: tiers[i] becomes the sum of 1<<TierCPU and so on. It returns
// how many are resident. ErrTooSmall when tiers is shorter than keys.
func (e *Engine) MatchEach(keys []Key, flags MatchFlags, tiers []uint8) (int, error) {
	defer runtime.KeepAlive(e)
	if len(tiers) < len(keys) {
		return 0, ErrTooSmall
	}
	var resident C.uint64_t
	status := C.kvc_match_each(e.handle, keysAt(keys), C.uint64_t(len(keys)), C.uint32_t(flags), bytesAt(tiers),
		&resident)
	return int(resident), asError(status)
}

// Get copies a block into target and returns its length. A block that is in a file tier only is copied up into memory
// first, and the call waits for that.
//
// ErrMiss; ErrTooSmall when the block is longer than target; ErrAgain when there is no pin or no room to copy it up.
func (e *Engine) Get(key Key, target []byte, flags CopyFlags) (int, error) {
	defer runtime.KeepAlive(e)
	k := key.words()
	return countOf(C.kvc_go_get(e.address, k[0], k[1], k[2], k[3], bytesAt(target), C.uint64_t(len(target)),
		C.uint32_t(flags)))
}

// Result is what became of one block of a batch. It has the bytes of kvc_go_result_t.
type Result struct {
	// Bytes of the block, or stored.
	Bytes uint64
	// Status is OK, or why not.
	Status Status
	_      uint32
}

var _ = [1]byte{}[unsafe.Sizeof(Result{})-unsafe.Sizeof(C.kvc_go_result_t{})]

// batch checks the lengths of a batch: data has as many pieces of stride bytes as there are keys, the last of which may
// be shorter.
func batch(keys []Key, data []byte, stride int, results []Result) error {
	if len(results) < len(keys) {
		return ErrTooSmall
	}
	if stride <= 0 || (len(data)+stride-1)/stride < len(keys) {
		return ErrArgument
	}
	return nil
}

func resultsAt(results []Result) *C.kvc_go_result_t {
	return (*C.kvc_go_result_t)(unsafe.Pointer(&results[0]))
}

// GetMany copies many blocks, block i to target[i*stride:], at most stride bytes. What became of each is in results,
// as Get would answer; it returns how many were copied. Blocks below memory are copied up several at once.
//
// ErrTooSmall when results is shorter than keys; ErrArgument when target has no room for all.
func (e *Engine) GetMany(keys []Key, target []byte, stride int, flags CopyFlags, results []Result) (int, error) {
	defer runtime.KeepAlive(e)
	if len(keys) == 0 {
		return 0, nil
	}
	if err := batch(keys, target, stride, results); err != nil {
		return 0, err
	}
	return countOf(C.kvc_go_get_many(e.address, keysAt(keys), C.uint64_t(len(keys)), bytesAt(target),
		C.uint64_t(len(target)), C.uint64_t(stride), C.uint32_t(flags), resultsAt(results)))
}

// View is a block that the engine lends: readable and unchanged until Release. It is a small value that may be copied;
// the copies are one view.
type View struct {
	engine *Engine
	data   unsafe.Pointer
	bytes  uint64
	block  uint64
	pin    uint64
}

func viewOf(e *Engine, v C.kvc_go_view_t) (View, error) {
	if v.status != C.KVC_OK {
		return View{}, Status(v.status)
	}
	return View{e, v.data, uint64(v.bytes), uint64(v.block), uint64(v.pin)}, nil
}

// Acquire lends a block, without copying it. A block that is in a file tier only is copied up first, and the call waits
// for that; with AcquirePartial it does not, and Ready says how much of it may be read.
//
// ErrMiss, also while a producer still fills it; ErrAgain when all pins are in use, or there is no room to copy it up.
func (e *Engine) Acquire(key Key, flags AcquireFlags) (View, error) {
	k := key.words()
	v := C.kvc_go_acquire(e.address, k[0], k[1], k[2], k[3], C.uint32_t(flags))
	runtime.KeepAlive(e)
	return viewOf(e, v)
}

// AcquireContext lends a block as Acquire does. While the block is on its way up from a file tier, no thread waits, and
// when the context is done the block is let go and the context's error returned.
func (e *Engine) AcquireContext(ctx context.Context, key Key) (View, error) {
	if err := ctx.Err(); err != nil {
		return View{}, err
	}
	view, err := e.Acquire(key, AcquirePartial)
	if err != nil {
		return View{}, err
	}
	pause := 20 * time.Microsecond
	for {
		_, err := view.Ready()
		if err == nil {
			return view, nil
		}
		if err == ErrPending {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
				if pause < time.Millisecond {
					pause *= 2
				}
				continue
			case <-ctx.Done():
				timer.Stop()
				err = ctx.Err()
			}
		}
		_ = view.Release()
		return View{}, err
	}
}

// Bytes are the block's bytes, in place: not to be written, and not to be used after Release.
func (v View) Bytes() []byte {
	return unsafe.Slice((*byte)(v.data), int(v.bytes))
}

// Memory is where the block's bytes are, for Scatter and the like.
func (v View) Memory() Memory {
	return Memory{data: v.data, bytes: v.bytes}
}

// Block names the block inside the engine.
func (v View) Block() Block {
	return Block{Index: uint32(v.block), Generation: uint32(v.block >> 32)}
}

// Pin names what holds the block.
func (v View) Pin() Pin {
	return Pin{Index: uint32(v.pin), Generation: uint32(v.pin >> 32)}
}

// Ready says how many bytes are there, from the first on, of a block that was acquired with AcquirePartial: all of them
// when the error is nil, a part while it is ErrPending. ErrMiss when the rest could not be read: release the view.
func (v View) Ready() (int, error) {
	if v.engine == nil {
		return 0, ErrStale
	}
	answer := C.kvc_go_view_ready(v.engine.address, v.data, C.uint64_t(v.bytes), C.uint64_t(v.block), C.uint64_t(v.pin))
	runtime.KeepAlive(v.engine)
	if answer.status != C.KVC_OK && answer.status != C.KVC_PENDING {
		return 0, Status(answer.status)
	}
	return int(answer.count), asError(C.kvc_status_t(answer.status))
}

// Release gives the view back. ErrStale when it, or a copy of it, was released already, or it expired.
func (v View) Release() error {
	if v.engine == nil {
		return ErrStale
	}
	status := C.kvc_go_release(v.engine.address, C.uint64_t(v.block), C.uint64_t(v.pin))
	runtime.KeepAlive(v.engine)
	return asError(status)
}

// Views are the blocks of a prefix that the engine lends, together.
type Views struct {
	engine *Engine
	views  []C.kvc_view_t
}

// AcquireMany lends the blocks of the longest resident prefix of the list. It stops at the first block that is not
// resident or cannot be copied up, or when the pins run out; with none there are no views and no error. Release them.
func (e *Engine) AcquireMany(keys []Key) (*Views, error) {
	defer runtime.KeepAlive(e)
	all := &Views{engine: e}
	if len(keys) == 0 {
		return all, nil
	}
	all.views = make([]C.kvc_view_t, len(keys))
	var count C.uint64_t
	status := C.kvc_acquire_many(e.handle, keysAt(keys), C.uint64_t(len(keys)), 0, &all.views[0], &count)
	all.views = all.views[:count]
	return all, asError(status)
}

// Len is how many views there are.
func (s *Views) Len() int {
	return len(s.views)
}

// At is one of the views. Release either it or all of them.
func (s *Views) At(i int) View {
	v := &s.views[i]
	return View{s.engine, v.data, uint64(v.bytes), uint64(v.block.generation)<<32 | uint64(v.block.index),
		uint64(v.pin.generation)<<32 | uint64(v.pin.index)}
}

// Bytes are the bytes of block i, in place: not to be written, and not to be used after Release.
func (s *Views) Bytes(i int) []byte {
	return s.At(i).Bytes()
}

// Release gives all views back. ErrStale when one of them was released already; the others are given back.
func (s *Views) Release() error {
	defer runtime.KeepAlive(s.engine)
	if len(s.views) == 0 {
		return nil
	}
	var released C.uint64_t
	status := C.kvc_release_many(s.engine.handle, &s.views[0], C.uint64_t(len(s.views)), &released)
	if status == C.KVC_OK && int(released) != len(s.views) {
		return ErrStale
	}
	return asError(status)
}

// Reader reads one block after the other in place, each until the next: releasing the last and acquiring the next are
// one crossing into C, which halves what the crossings cost. For one goroutine at a time.
type Reader struct {
	view   View
	engine *Engine
}

// Reader is a reader that holds no block yet.
func (e *Engine) Reader() *Reader {
	return &Reader{engine: e}
}

// Read lends a block until the next Read or Close: its bytes must not be used after that. It waits and fails as Acquire
// does; after an error the reader holds no block.
func (r *Reader) Read(key Key) ([]byte, error) {
	k := key.words()
	v := C.kvc_go_next(r.engine.address, C.uint64_t(r.view.block), C.uint64_t(r.view.pin), k[0], k[1], k[2], k[3], 0)
	if v.status != C.KVC_OK {
		r.view = View{}
		return nil, Status(v.status)
	}
	r.view.block, r.view.pin = uint64(v.block), uint64(v.pin)
	return unsafe.Slice((*byte)(v.data), int(v.bytes)), nil
}

// Close lets go of the block that the reader holds. The reader can be used again. ErrStale when it holds none.
func (r *Reader) Close() error {
	if r.view.pin == 0 {
		return ErrStale
	}
	status := C.kvc_go_release(r.engine.address, C.uint64_t(r.view.block), C.uint64_t(r.view.pin))
	runtime.KeepAlive(r.engine)
	r.view = View{}
	return asError(status)
}
