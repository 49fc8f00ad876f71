package kvcache

// #include "shim.h"
import "C"
import (
	"runtime"
	"unsafe"
)

// Pages are the pages of an inference engine, as Gather and Scatter find them. Made by NewPages, ended by Close.
type Pages struct {
	geometry *C.kvc_geometry_t
	paged    *C.kvc_paged_t
	held     []Memory
	arena    arena
}

// NewPages describes pages. Their memory must stay valid until Close; buffers among it are kept from being freed.
// ErrStale when one was freed already. What does not fit the geometry is found by Gather and Scatter.
func NewPages(geometry Geometry, paged Paged) (*Pages, error) {
	p := &Pages{}
	for _, memories := range [][]Memory{paged.Keys, paged.Values} {
		for _, memory := range memories {
			if err := memory.hold(); err != nil {
				_ = p.Close()
				return nil, err
			}
			p.held = append(p.held, memory)
		}
	}
	p.geometry = geometry.c(&p.arena)
	p.paged = (*C.kvc_paged_t)(p.arena.room(1, C.sizeof_kvc_paged_t))
	p.paged.struct_size = C.sizeof_kvc_paged_t
	paged.fill(p.paged)
	p.paged.keys, p.paged.keys_count = p.arena.pointers(paged.Keys), C.uint64_t(len(paged.Keys))
	p.paged.values, p.paged.values_count = p.arena.pointers(paged.Values), C.uint64_t(len(paged.Values))
	runtime.SetFinalizer(p, func(p *Pages) { _ = p.Close() })
	return p, nil
}

// Close forgets the pages. Everything after it answers ErrNull.
func (p *Pages) Close() error {
	for _, memory := range p.held {
		memory.drop()
	}
	p.held, p.geometry, p.paged = nil, nil, nil
	p.arena.free()
	runtime.SetFinalizer(p, nil)
	return nil
}

// Gather copies the pages of one block into its contiguous form, into a reservation's bytes for one. pages are the
// block's part of the request's block table; tokenFirst is the first token within the first page.
//
// ErrConfig or ErrConflict for a geometry or a Paged that makes no sense; ErrArgument for pages or tokenFirst that do
// not fit; ErrTooSmall when block is shorter than the geometry's.
func (p *Pages) Gather(pages []uint32, tokenFirst uint64, flags CopyFlags, block []byte) error {
	defer runtime.KeepAlive(p)
	return asError(C.kvc_layout_gather(p.geometry, p.paged, tokensAt(pages), C.uint64_t(len(pages)),
		C.uint64_t(tokenFirst), C.uint32_t(flags), unsafe.Pointer(bytesAt(block)), C.uint64_t(len(block))))
}

// GatherLayer copies one layer of the pages of one block; target begins with this layer.
func (p *Pages) GatherLayer(pages []uint32, tokenFirst, layer uint64, flags CopyFlags, target []byte) error {
	defer runtime.KeepAlive(p)
	return asError(C.kvc_layout_gather_layer(p.geometry, p.paged, tokensAt(pages), C.uint64_t(len(pages)),
		C.uint64_t(tokenFirst), C.uint64_t(layer), C.uint32_t(flags), unsafe.Pointer(bytesAt(target)),
		C.uint64_t(len(target))))
}

// Scatter copies a block, a view's bytes for one, into pages: the way back of Gather.
func (p *Pages) Scatter(pages []uint32, tokenFirst uint64, flags CopyFlags, block []byte) error {
	defer runtime.KeepAlive(p)
	return asError(C.kvc_layout_scatter(p.geometry, p.paged, tokensAt(pages), C.uint64_t(len(pages)),
		C.uint64_t(tokenFirst), C.uint32_t(flags), unsafe.Pointer(bytesAt(block)), C.uint64_t(len(block))))
}

// ScatterLayer copies one layer of a block into pages; source begins with this layer.
func (p *Pages) ScatterLayer(pages []uint32, tokenFirst, layer uint64, flags CopyFlags, source []byte) error {
	defer runtime.KeepAlive(p)
	return asError(C.kvc_layout_scatter_layer(p.geometry, p.paged, tokensAt(pages), C.uint64_t(len(pages)),
		C.uint64_t(tokenFirst), C.uint64_t(layer), C.uint32_t(flags), unsafe.Pointer(bytesAt(source)),
		C.uint64_t(len(source))))
}
