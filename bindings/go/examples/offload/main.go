// Command offload hands the paged key/value blocks of an inference engine over to the cache, overwrites the pages, and
// loads the blocks back into other pages.
package main

import (
	"fmt"
	"log"

	"libkvcache/kvcache"
)

const (
	layersCount    = 4
	tokensPerBlock = 16
	tokensPerPage  = 8
	pagesCount     = 64
	blocksCount    = 8
	pagesPerBlock  = tokensPerBlock / tokensPerPage
)

// value is what the engine has computed for this place of this block.
func value(block, layer, page, place int) byte {
	return byte(1 + block*97 + layer*31 + page*13 + place/7)
}

func run() error {
	geometry := kvcache.Geometry{
		LayersCount: layersCount, KVHeadsCount: 2, HeadDim: 64, TokensPerBlock: tokensPerBlock, DType: kvcache.DTypeBF16,
	}
	blockBytes, err := geometry.BlockBytes()
	if err != nil {
		return err
	}

	// The engine's pages: for each layer one buffer, [page][keys, values][token][head][element].
	pageBytes := int(blockBytes) / layersCount / pagesPerBlock
	buffers := make([]*kvcache.Buffer, layersCount)
	paged := kvcache.Paged{
		PagesCount: pagesCount, TokensPerPage: tokensPerPage, Order: kvcache.OrderNHD, Planes: kvcache.PlanesInner,
	}
	for layer := range buffers {
		if buffers[layer], err = kvcache.NewBuffer(pagesCount * pageBytes); err != nil {
			return err
		}
		defer buffers[layer].Free()
		paged.Keys = append(paged.Keys, buffers[layer].Memory())
	}
	pages, err := kvcache.NewPages(geometry, paged)
	if err != nil {
		return err
	}
	defer pages.Close()

	engine, err := kvcache.Open(&kvcache.Config{BlockBytes: blockBytes, CPUBytes: 2 * blocksCount * blockBytes})
	if err != nil {
		return err
	}
	defer engine.Close()

	each := func(block int, table []uint32, visit func(data []byte, layer, page int)) {
		for layer, buffer := range buffers {
			for page, number := range table {
				visit(buffer.Bytes()[int(number)*pageBytes:][:pageBytes], layer, page)
			}
		}
	}
	tokens := make([]uint32, blocksCount*tokensPerBlock)
	for i := range tokens {
		tokens[i] = uint32(i)
	}
	keys, err := kvcache.ChainMany(kvcache.ChainRoot(0, []byte("offload")), tokens, tokensPerBlock)
	if err != nil {
		return err
	}

	// Out: the pages of a block, wherever they lie, into room in the cache.
	for block, key := range keys {
		table := []uint32{uint32(2 * block), uint32(2*block + 17)}
		each(block, table, func(data []byte, layer, page int) {
			for place := range data {
				data[place] = value(block, layer, page, place)
			}
		})
		reservation, err := engine.Reserve(key, int(blockBytes), nil)
		if err != nil {
			return err
		}
		if err := pages.Gather(table, 0, 0, reservation.Bytes()); err != nil {
			return err
		}
		if err := reservation.Commit(0); err != nil {
			return err
		}
		each(block, table, func(data []byte, layer, page int) {
			for place := range data {
				data[place] = 0
			}
		})
	}
	fmt.Printf("offload  %d blocks of %d bytes from pages of %d tokens\n", blocksCount, blockBytes, tokensPerPage)

	// Back, into other pages.
	views, err := engine.AcquireMany(keys)
	if err != nil {
		return err
	}
	defer views.Release()
	if views.Len() != blocksCount {
		return fmt.Errorf("%d blocks of %d are there", views.Len(), blocksCount)
	}
	wrong := 0
	for block := range keys {
		table := []uint32{uint32(63 - 2*block), uint32(62 - 2*block)}
		if err := pages.Scatter(table, 0, 0, views.Bytes(block)); err != nil {
			return err
		}
		each(block, table, func(data []byte, layer, page int) {
			for place := range data {
				if data[place] != value(block, layer, page, place) {
					wrong++
				}
			}
		})
	}
	if wrong != 0 {
		return fmt.Errorf("%d bytes came back wrong", wrong)
	}
	fmt.Printf("load     %d blocks into other pages, every byte as it was\n", blocksCount)
	if err := views.Release(); err != nil {
		return err
	}
	return engine.Close()
}

func main() {
	if err := run(); err != nil {
		log.Fatal("offload: ", err)
	}
	fmt.Println("offload: ok")
}
