package kvcache

// #include "shim.h"
import "C"
import (
	"errors"
	"sync/atomic"
	"unsafe"
)

// ErrGoMemory is the error of MemoryAt for memory of Go, which the library must not keep.
var ErrGoMemory = errors.New("kvcache: the memory belongs to Go's heap; use a Buffer, or memory that C allocated")

// Memory is a range of bytes outside of Go's heap, which stays where it is: what the library may keep a pointer to
// after a call has returned. The zero Memory is none.
//
// It is part of a Buffer (Buffer.Memory), of a View or Reservation, or foreign (MemoryAt).
type Memory struct {
	data  unsafe.Pointer
	bytes uint64
	owner *Buffer
}

// MemoryAt is foreign memory: bytes bytes at data, which C or the system allocated and which stay valid for as long as
// they are used. ErrGoMemory for memory of Go; ErrNull for nil with bytes other than 0.
func MemoryAt(data unsafe.Pointer, bytes int) (memory Memory, err error) {
	if bytes < 0 {
		return Memory{}, ErrArgument
	}
	if data == nil && bytes != 0 {
		return Memory{}, ErrNull
	}
	// cgo panics where Go memory that is passed to C holds a pointer to Go memory (unless GODEBUG has cgocheck=0).
	defer func() {
		if recover() != nil {
			memory, err = Memory{}, ErrGoMemory
		}
	}()
	pointers := [1]unsafe.Pointer{data}
	C.kvc_go_see(&pointers[0])
	return Memory{data: data, bytes: uint64(bytes)}, nil
}

// Len is how many bytes there are.
func (m Memory) Len() int {
	return int(m.bytes)
}

// Bytes are the bytes themselves.
func (m Memory) Bytes() []byte {
	return unsafe.Slice((*byte)(m.data), int(m.bytes))
}

// Slice is the part from begin up to end. It panics as slicing does when that is out of range.
func (m Memory) Slice(begin, end int) Memory {
	_ = m.Bytes()[begin:end]
	return Memory{data: unsafe.Add(m.data, begin), bytes: uint64(end - begin), owner: m.owner}
}

// hold keeps the memory's buffer from being freed until drop.
func (m Memory) hold() error {
	if m.owner != nil && !m.owner.hold() {
		return ErrStale
	}
	return nil
}

func (m Memory) drop() {
	if m.owner != nil {
		m.owner.drop()
	}
}

// Buffer is memory outside of Go's heap, for what the library keeps a pointer to. It begins at a multiple of 4096
// bytes. It has no finalizer: a slice of its bytes would not keep it. Call Free.
type Buffer struct {
	data  unsafe.Pointer
	bytes uint64
	// How many operations, engines and so on use it; freed is what it is below zero.
	uses int64
}

const (
	bufferAlignment = 4096
	freed           = -1 << 62
)

// NewBuffer allocates a buffer of zeros. ErrArgument for a size that is not positive; ErrNoMemory.
func NewBuffer(bytes int) (*Buffer, error) {
	if bytes <= 0 {
		return nil, ErrArgument
	}
	var data unsafe.Pointer
	if C.posix_memalign(&data, bufferAlignment, C.size_t(bytes)) != 0 {
		return nil, ErrNoMemory
	}
	C.memset(data, 0, C.size_t(bytes))
	return &Buffer{data: data, bytes: uint64(bytes)}, nil
}

// Memory is all of the buffer; none after Free.
func (b *Buffer) Memory() Memory {
	if atomic.LoadInt64(&b.uses) < 0 {
		return Memory{}
	}
	return Memory{data: b.data, bytes: b.bytes, owner: b}
}

// Bytes are the bytes of the buffer, until Free; nil afterwards.
func (b *Buffer) Bytes() []byte {
	return b.Memory().Bytes()
}

// Free gives the memory back. Slices of it must not be used any more. ErrBusy while an operation, an engine or Pages
// use it; ErrStale when it was freed already.
func (b *Buffer) Free() error {
	if !atomic.CompareAndSwapInt64(&b.uses, 0, freed) {
		if atomic.LoadInt64(&b.uses) < 0 {
			return ErrStale
		}
		return ErrBusy
	}
	C.free(b.data)
	return nil
}

func (b *Buffer) hold() bool {
	if atomic.AddInt64(&b.uses, 1) < 0 {
		atomic.AddInt64(&b.uses, -1)
		return false
	}
	return true
}

func (b *Buffer) drop() {
	atomic.AddInt64(&b.uses, -1)
}

// arena is C memory for the arguments of one call, or of one object.
type arena struct {
	pieces []unsafe.Pointer
}

// room is count times bytes of zeros.
func (a *arena) room(count, bytes uintptr) unsafe.Pointer {
	piece := C.calloc(C.size_t(count), C.size_t(bytes))
	if piece == nil {
		panic(ErrNoMemory)
	}
	a.pieces = append(a.pieces, piece)
	return piece
}

// copied is a copy of data; nil for an empty one.
func (a *arena) copied(data []byte) unsafe.Pointer {
	if len(data) == 0 {
		return nil
	}
	piece := a.room(uintptr(len(data)), 1)
	copy(unsafe.Slice((*byte)(piece), len(data)), data)
	return piece
}

// str is a copy of text with a closing NUL byte; nil for an empty one.
func (a *arena) str(text string) *C.char {
	if text == "" {
		return nil
	}
	return (*C.char)(a.copied(append([]byte(text), 0)))
}

// pointers is an array of where each memory is; nil for none.
func (a *arena) pointers(all []Memory) *unsafe.Pointer {
	if len(all) == 0 {
		return nil
	}
	var pointer unsafe.Pointer
	first := a.room(uintptr(len(all)), unsafe.Sizeof(pointer))
	places := unsafe.Slice((*unsafe.Pointer)(first), len(all))
	for i := range all {
		places[i] = all[i].data
	}
	return (*unsafe.Pointer)(first)
}

func (a *arena) free() {
	for _, piece := range a.pieces {
		C.free(piece)
	}
	a.pieces = nil
}
