package kvcache

import (
	"encoding/binary"
	"math"
	"math/rand"
	"path/filepath"
	"testing"
	"unsafe"
)

func TestGatherAndScatter(t *testing.T) {
	geometry := Geometry{LayersCount: 2, KVHeadsCount: 2, HeadDim: 8, TokensPerBlock: 4, DType: DTypeF16}
	bytes, err := geometry.BlockBytes()
	no(t, err)
	equal(t, bytes, 2*2*4*2*8*2)
	const pagesCount, tokensPerPage, rowBytes = 8, 2, 2 * 8 * 2
	for _, planes := range []Planes{PlanesSeparate, PlanesOuter, PlanesInner} {
		paged := Paged{PagesCount: pagesCount, TokensPerPage: tokensPerPage, Order: OrderNHD, Planes: planes}
		var buffers []*Buffer
		for i := 0; i < 4; i++ {
			b := buffer(t, 2*pagesCount*tokensPerPage*rowBytes)
			rand.New(rand.NewSource(int64(i))).Read(b.Bytes())
			buffers = append(buffers, b)
		}
		paged.Keys = []Memory{buffers[0].Memory(), buffers[1].Memory()}
		if planes == PlanesSeparate {
			paged.Values = []Memory{buffers[2].Memory(), buffers[3].Memory()}
		}
		pages, err := NewPages(geometry, paged)
		no(t, err)
		is(t, buffers[0].Free(), ErrBusy)

		// Where a token's row is, by the layouts' definitions.
		row := func(layer, plane int, page uint32, token int) []byte {
			source := buffers[layer].Bytes()
			place := int(page)*tokensPerPage + token
			switch planes {
			case PlanesSeparate:
				source = buffers[layer+2*plane].Bytes()
			case PlanesOuter:
				place += plane * pagesCount * tokensPerPage
			case PlanesInner:
				place = (int(page)*2+plane)*tokensPerPage + token
			}
			return source[place*rowBytes:][:rowBytes]
		}
		table := []uint32{5, 2}
		var want []byte
		for layer := 0; layer < 2; layer++ {
			for plane := 0; plane < 2; plane++ {
				for token := 0; token < 4; token++ {
					want = append(want, row(layer, plane, table[token/2], token%2)...)
				}
			}
		}
		got, layer := make([]byte, bytes), make([]byte, bytes/2)
		no(t, pages.Gather(table, 0, 0, got))
		equal(t, string(got), string(want))
		no(t, pages.GatherLayer(table, 0, 1, 0, layer))
		equal(t, string(layer), string(want[bytes/2:]))
		is(t, pages.Gather(table, 0, 0, got[:bytes-1]), ErrTooSmall)
		is(t, pages.Gather([]uint32{5, 8}, 0, 0, got), ErrArgument)
		is(t, pages.GatherLayer(table, 0, 2, 0, layer), ErrArgument)

		other := []uint32{0, 7}
		no(t, pages.Scatter(other, 0, 0, want))
		no(t, pages.Gather(other, 0, 0, got))
		equal(t, string(got), string(want))
		no(t, pages.ScatterLayer([]uint32{3, 4}, 0, 1, CopyCold, layer))
		no(t, pages.GatherLayer([]uint32{3, 4}, 0, 1, 0, got[:bytes/2]))
		equal(t, string(got[:bytes/2]), string(layer))

		no(t, pages.Close())
		no(t, pages.Close())
		is(t, pages.Gather(table, 0, 0, got), ErrNull)
		for _, b := range buffers {
			no(t, b.Free())
		}
		_, err = NewPages(geometry, paged)
		is(t, err, ErrStale)
	}
}

// normal is a plane of bfloat16 numbers.
func normal(seed int64, bytes int) []byte {
	random, data := rand.New(rand.NewSource(seed)), make([]byte, bytes)
	for i := 0; i < bytes; i += 2 {
		binary.LittleEndian.PutUint16(data[i:], uint16(math.Float32bits(float32(random.NormFloat64()))>>16))
	}
	return data
}

func floats(data []byte) []float64 {
	out := make([]float64, len(data)/2)
	for i := range out {
		out[i] = float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(data[2*i:])) << 16))
	}
	return out
}

// relative is the root of the squared error over the squared norm.
func relative(got, want []byte) float64 {
	var wrong, norm float64
	a, b := floats(got), floats(want)
	for i := range a {
		wrong += (a[i] - b[i]) * (a[i] - b[i])
		norm += b[i] * b[i]
	}
	return math.Sqrt(wrong / norm)
}

func TestCodec(t *testing.T) {
	geometry := Geometry{LayersCount: 2, KVHeadsCount: 2, HeadDim: 64, TokensPerBlock: 16, DType: DTypeBF16}
	for codec, errorMax := range map[CodecID]float64{CodecRaw: 0, CodecLZ: 0, CodecI8: 0.02, CodecT4: 0.2} {
		config := &CodecConfig{Geometry: geometry, CodecKey: codec, CodecValue: codec}
		sizes, err := DescribeCodec(config)
		no(t, err)
		equal(t, sizes.Exact, uint64(map[bool]int{true: 1, false: 0}[errorMax == 0]))
		if sizes.InstructionsName() == "" {
			t.Error("no instructions")
		}
		c, err := OpenCodec(config)
		no(t, err)
		block := normal(1, int(sizes.BlockBytes))
		code, scratch := make([]byte, sizes.CodeBytesMax), make([]byte, sizes.ScratchBytes)
		count, err := c.Encode(block, 0, CodecRaw, code, scratch)
		no(t, err)
		code = code[:count]
		got, layer := make([]byte, len(block)), make([]byte, len(block)/2)
		no(t, c.Decode(code, got, scratch))
		if wrong := relative(got, block); wrong > errorMax {
			t.Errorf("%s: the error is %v", codec.Name(), wrong)
		}
		no(t, c.DecodeLayer(code, 1, layer, scratch))
		equal(t, string(layer), string(got[len(block)/2:]))
		info, err := c.Inspect(code)
		no(t, err)
		equal(t, info.Codec, codec)
		equal(t, info.PlanesCount, 4)
		is(t, second(c.Encode(block[1:], 0, CodecRaw, code, scratch)), ErrArgument)
		is(t, second(c.Encode(block, 0, CodecRaw, code[:10], scratch)), ErrTooSmall)
		is(t, c.Decode(code[:8], got, scratch), ErrDamaged)
		is(t, c.DecodeLayer(code, 2, layer, scratch), ErrArgument)
		is(t, second(c.Inspect(nil)), ErrDamaged)
		no(t, c.Close())
		is(t, c.Close(), ErrHandle)
		is(t, c.Decode(code, got, scratch), ErrHandle)
	}
	equal(t, CodecT3.Name(), "t3")
	equal(t, CodecID(99).Name(), "unknown")
	_, err := OpenCodec(&CodecConfig{Geometry: geometry, CodecKey: 77})
	is(t, err, ErrConfig)
	_, err = OpenCodec(&CodecConfig{Geometry: geometry, Layers: make([]CodecLayer, 9)})
	is(t, err, ErrConfig)
}

func TestTables(t *testing.T) {
	const tokens, dim = 512, 32
	samples := &CodecSamples{DType: DTypeBF16, LayersCount: 1, KVHeadsCount: 1, HeadDim: dim, TokensCount: tokens,
		Codecs: 1 << CodecVQ, Rope: RopeNone}
	keys, values := buffer(t, 2*tokens*dim), buffer(t, 2*tokens*dim)
	copy(keys.Bytes(), normal(1, 2*tokens*dim))
	copy(values.Bytes(), normal(2, 2*tokens*dim))
	is(t, second(TrainCodec(samples)), ErrArgument)
	samples.Keys, samples.Values = []Memory{keys.Memory()}, []Memory{values.Memory().Slice(0, 100)}
	is(t, second(TrainCodec(samples)), ErrTooSmall)
	samples.Values[0] = values.Memory()
	tables, err := TrainCodec(samples)
	no(t, err)
	info, err := CheckTables(tables)
	no(t, err)
	equal(t, info.HeadDim, dim)
	equal(t, info.Codecs, 1<<CodecVQ)
	equal(t, info.Rope, RopeNone)
	path := filepath.Join(t.TempDir(), "model.kvct")
	no(t, SaveTables(path, tables))
	loaded, err := LoadTables(path)
	no(t, err)
	equal(t, string(loaded), string(tables))
	is(t, second(LoadTables(path+"-not")), ErrFile)
	is(t, second(LoadTables("")), ErrArgument)
	is(t, SaveTables("a\x00b", tables), ErrArgument)
	loaded[len(loaded)/2] ^= 1
	is(t, second(CheckTables(loaded)), ErrDamaged)
	is(t, second(CheckTables(nil)), ErrDamaged)

	config := &CodecConfig{CodecKey: CodecVQ, CodecValue: CodecVQ, Geometry: Geometry{LayersCount: 1, KVHeadsCount: 1,
		HeadDim: dim, TokensPerBlock: 16, DType: DTypeBF16}}
	_, err = OpenCodec(config)
	is(t, err, ErrConfig)
	config.Tables = tables
	c, err := OpenCodec(config)
	no(t, err)
	sizes, err := DescribeCodec(config)
	no(t, err)
	block := append(normal(1, 16*dim*2), normal(2, 16*dim*2)...)
	code, scratch := make([]byte, sizes.CodeBytesMax), make([]byte, sizes.ScratchBytes)
	count, err := c.Encode(block, 0, CodecRaw, code, scratch)
	no(t, err)
	got := make([]byte, len(block))
	no(t, c.Decode(code[:count], got, scratch))
	if wrong := relative(got, block); wrong == 0 || wrong > 0.6 {
		t.Errorf("the error is %v", wrong)
	}
	no(t, c.Close())
}

func TestMemory(t *testing.T) {
	b := buffer(t, 100)
	memory := b.Memory()
	equal(t, memory.Len(), 100)
	copy(memory.Bytes(), "hello, buffer")
	equal(t, string(memory.Slice(7, 13).Bytes()), "buffer")
	equal(t, string(b.Bytes()[:5]), "hello")
	equal(t, uintptr(unsafe.Pointer(&b.Bytes()[0]))%4096, 0)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a slice beyond the end")
			}
		}()
		memory.Slice(0, 101)
	}()
	foreign, err := MemoryAt(unsafe.Pointer(&b.Bytes()[0]), 100)
	no(t, err)
	equal(t, string(foreign.Bytes()[:5]), "hello")
	is(t, second(NewBuffer(0)), ErrArgument)
	is(t, second(NewBuffer(-1)), ErrArgument)
	is(t, second(NewBuffer(math.MaxInt64)), ErrNoMemory)
	equal(t, Memory{}.Len(), 0)
	equal(t, len(Memory{}.Bytes()), 0)
}
