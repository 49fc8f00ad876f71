// Command prefix_share serves requests that share the beginning of their prompts: the second one finds the blocks of
// the first and computes only what is different.
//
// Each prompt is cut into blocks of 16 tokens, and each block's key is chained to the one before, so equal keys mean
// equal prompts up to there. Blocks go in without a copy (reserve, fill in place, commit) and come out without one
// (acquire). "Computing" is a function of the block's key here, so that every byte can be checked.
package main

import (
	"errors"
	"fmt"
	"log"

	"libkvcache/kvcache"
)

const tokensPerBlock = 16

// computed is what a model would compute for the block.
func computed(key kvcache.Key, place int) byte {
	return key[place%32] + byte(place/32)
}

// serve serves one request: takes what is there, computes and stores the rest. It returns how many were computed.
func serve(engine *kvcache.Engine, blockBytes int, tokens []uint32) (int, error) {
	// What makes the blocks of two models different belongs into the salt of the root.
	root := kvcache.ChainRoot(0, []byte("llama-3.1-8b bf16 16x32x8x128"))
	keys, err := kvcache.ChainMany(root, tokens, tokensPerBlock)
	if err != nil {
		return 0, err
	}

	// The longest prefix that is there stays where it is until it is released.
	views, err := engine.AcquireMany(keys)
	if err != nil {
		return 0, err
	}
	defer views.Release()
	for i := 0; i < views.Len(); i++ {
		for place, got := range views.Bytes(i) {
			if got != computed(keys[i], place) {
				return 0, fmt.Errorf("block %d came back wrong", i)
			}
		}
	}

	for i := views.Len(); i < len(keys); i++ {
		info := kvcache.PutInfo{Parent: &root, ChainIndex: uint64(i), TokensCount: tokensPerBlock}
		if i > 0 {
			info.Parent = &keys[i-1]
		}
		reservation, err := engine.Reserve(keys[i], blockBytes, &info)
		if errors.Is(err, kvcache.ErrExists) || errors.Is(err, kvcache.ErrPending) {
			continue // Another request was quicker with this block.
		}
		if err != nil {
			return 0, err
		}
		block := reservation.Bytes()
		for place := range block {
			block[place] = computed(keys[i], place)
		}
		if err := reservation.Commit(0); err != nil {
			return 0, err
		}
	}
	fmt.Printf("%3d tokens: %2d blocks, %2d found, %2d computed\n",
		len(tokens), len(keys), views.Len(), len(keys)-views.Len())
	return len(keys) - views.Len(), nil
}

func run() error {
	geometry := kvcache.Geometry{
		LayersCount: 4, KVHeadsCount: 2, HeadDim: 64, TokensPerBlock: tokensPerBlock, DType: kvcache.DTypeBF16,
	}
	blockBytes, err := geometry.BlockBytes()
	if err != nil {
		return err
	}
	engine, err := kvcache.Open(&kvcache.Config{BlockBytes: blockBytes, CPUBytes: 64 * blockBytes})
	if err != nil {
		return err
	}
	defer engine.Close()

	// One system prompt of 160 tokens, two questions.
	first, second := make([]uint32, 224), make([]uint32, 208)
	for i := range first {
		first[i] = 1000 + uint32(i)
	}
	copy(second, first[:160])
	for i := 160; i < len(second); i++ {
		second[i] = 5000 + uint32(i)
	}
	for _, request := range []struct {
		tokens   []uint32
		computed int
	}{{first, 14}, {second, 3}, {first, 0}} {
		count, err := serve(engine, int(blockBytes), request.tokens)
		if err != nil {
			return err
		}
		if count != request.computed {
			return fmt.Errorf("%d blocks were computed, not %d", count, request.computed)
		}
	}
	return engine.Close()
}

func main() {
	if err := run(); err != nil {
		log.Fatal("prefix_share: ", err)
	}
	fmt.Println("prefix_share: ok")
}
