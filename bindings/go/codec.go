package kvcache

// #include "shim.h"
import "C"
import (
	"runtime"
	"strings"
	"unsafe"
)

// Name is the codec's name, "t3" for one; "unknown" for a number that means nothing.
func (c CodecID) Name() string {
	return C.GoString(C.kvc_codec_name(C.uint64_t(c)))
}

// Codec encodes blocks of one geometry. Any number of goroutines may use it at once, each with its own scratch. Made by
// OpenCodec, ended by Close.
type Codec struct {
	handle *C.kvc_codec_t
	tables *Buffer
}

// DescribeCodec says what a codec of this configuration needs and what it makes of a block. Tables are not looked at.
func DescribeCodec(config *CodecConfig) (*CodecDescription, error) {
	var a arena
	defer a.free()
	p := config.c(&a, true)
	out := &CodecDescription{structSize: C.sizeof_kvc_codec_description_t}
	e := newError()
	status := C.kvc_codec_describe(p, (*C.kvc_codec_description_t)(unsafe.Pointer(out)), e)
	if err := refusal(status, e); err != nil {
		return nil, err
	}
	return out, nil
}

// InstructionsName is what this machine has for the codec: "portable", "avx2", "avx512". The codes do not depend on it.
func (d *CodecDescription) InstructionsName() string {
	return text(d.instructionsName[:])
}

// OpenCodec opens a codec. It needs no engine. Tables of the configuration are copied.
func OpenCodec(config *CodecConfig) (*Codec, error) {
	var a arena
	defer a.free()
	codec := &Codec{}
	p := config.c(&a, true)
	if len(config.Tables) > 0 {
		tables, err := NewBuffer(len(config.Tables))
		if err != nil {
			return nil, err
		}
		copy(tables.Bytes(), config.Tables)
		p.codec_tables, p.codec_tables_bytes = tables.data, C.uint64_t(tables.bytes)
		codec.tables = tables
	}
	e := newError()
	if err := refusal(C.kvc_codec_open(p, &codec.handle, e), e); err != nil {
		codec.freeTables()
		return nil, err
	}
	runtime.SetFinalizer(codec, func(c *Codec) { _ = c.Close() })
	return codec, nil
}

func (c *Codec) freeTables() {
	if c.tables != nil {
		_ = c.tables.Free()
		c.tables = nil
	}
}

// Close closes the codec. No other call on it may be under way. ErrHandle when it was closed already, as from every
// call after Close.
func (c *Codec) Close() error {
	if status := C.kvc_codec_close(c.handle); status != C.KVC_OK {
		return Status(status)
	}
	c.handle = (*C.kvc_codec_t)(C.kvc_go_closed())
	c.freeTables()
	runtime.SetFinalizer(c, nil)
	return nil
}

// Encode encodes a block into code and returns the code's length; CodeBytesMax of the description is always enough, and
// ScratchBytes for the scratch. position is the place of the block's first token in its sequence, before the coarsest
// codec that the block went through before, CodecRaw if none.
//
// ErrArgument when block is not of the geometry; ErrTooSmall when the code does not fit, or the scratch is too small.
func (c *Codec) Encode(block []byte, position uint64, before CodecID, code, scratch []byte) (int, error) {
	defer runtime.KeepAlive(c)
	var bytes C.uint64_t
	status := C.kvc_codec_encode(c.handle, unsafe.Pointer(bytesAt(block)), C.uint64_t(len(block)), C.uint64_t(position),
		C.uint64_t(before), unsafe.Pointer(bytesAt(code)), C.uint64_t(len(code)), unsafe.Pointer(bytesAt(scratch)),
		C.uint64_t(len(scratch)), &bytes)
	return int(bytes), asError(status)
}

// Decode decodes a block. ErrDamaged for what is no code of a block of this geometry.
func (c *Codec) Decode(code, block, scratch []byte) error {
	defer runtime.KeepAlive(c)
	return asError(C.kvc_codec_decode(c.handle, unsafe.Pointer(bytesAt(code)), C.uint64_t(len(code)),
		unsafe.Pointer(bytesAt(block)), C.uint64_t(len(block)), unsafe.Pointer(bytesAt(scratch)),
		C.uint64_t(len(scratch))))
}

// DecodeLayer decodes one layer alone, in the time of this layer.
func (c *Codec) DecodeLayer(code []byte, layer uint64, target, scratch []byte) error {
	defer runtime.KeepAlive(c)
	return asError(C.kvc_codec_decode_layer(c.handle, unsafe.Pointer(bytesAt(code)), C.uint64_t(len(code)),
		C.uint64_t(layer), unsafe.Pointer(bytesAt(target)), C.uint64_t(len(target)), unsafe.Pointer(bytesAt(scratch)),
		C.uint64_t(len(scratch))))
}

// Inspect says what a code is, without decoding it.
func (c *Codec) Inspect(code []byte) (*CodecInfo, error) {
	defer runtime.KeepAlive(c)
	out := &CodecInfo{structSize: C.sizeof_kvc_codec_info_t}
	status := C.kvc_codec_inspect(c.handle, unsafe.Pointer(bytesAt(code)), C.uint64_t(len(code)),
		(*C.kvc_codec_info_t)(unsafe.Pointer(out)))
	return out, asError(status)
}

// c is the samples as the library reads them.
func (s *CodecSamples) c(a *arena) (*C.kvc_codec_samples_t, error) {
	if uint64(len(s.Keys)) != s.LayersCount || uint64(len(s.Values)) != s.LayersCount {
		return nil, ErrArgument
	}
	p := (*C.kvc_codec_samples_t)(a.room(1, C.sizeof_kvc_codec_samples_t))
	p.struct_size = C.sizeof_kvc_codec_samples_t
	s.fill(p)
	p.keys, p.values = a.pointers(s.Keys), a.pointers(s.Values)
	return p, nil
}

// fits says whether the memories have the bytes that the samples' numbers ask for: two for an element.
func (s *CodecSamples) fits() bool {
	if s.KVHeadsCount > 1024 || s.HeadDim > 256 || s.TokensCount > 1<<24 {
		return true // The library refuses these.
	}
	bytes := 2 * s.KVHeadsCount * s.HeadDim * s.TokensCount
	for _, memories := range [][]Memory{s.Keys, s.Values} {
		for _, memory := range memories {
			if memory.bytes < bytes {
				return false
			}
		}
	}
	return true
}

// TrainCodec trains tables for CodecVQ and CodecXC on keys and values of a model. It takes seconds to many minutes.
// Keys and Values have one Memory for each layer.
//
// ErrArgument when there are more or fewer; ErrTooSmall when one is too short; a *ConfigError for what else is wrong.
func TrainCodec(samples *CodecSamples) ([]byte, error) {
	var a arena
	defer a.free()
	p, err := samples.c(&a)
	if err != nil {
		return nil, err
	}
	if !samples.fits() {
		return nil, ErrTooSmall
	}
	var capacity, bytes C.uint64_t
	e := newError()
	if err := refusal(C.kvc_codec_train_bytes_max(p, &capacity, e), e); err != nil {
		return nil, err
	}
	// Not a Buffer, which is cleared: it is much more than tables have in the end.
	var tables unsafe.Pointer
	if C.posix_memalign(&tables, bufferAlignment, C.size_t(capacity)) != 0 {
		return nil, ErrNoMemory
	}
	defer C.free(tables)
	if err := refusal(C.kvc_codec_train(p, tables, capacity, &bytes, e), e); err != nil {
		return nil, err
	}
	return append([]byte(nil), unsafe.Slice((*byte)(tables), int(bytes))...), nil
}

// aligned calls with a copy of the tables that begins where tables must.
func aligned(tables []byte, call func(unsafe.Pointer, C.uint64_t) error) error {
	if len(tables) == 0 {
		return ErrDamaged
	}
	buffer, err := NewBuffer(len(tables))
	if err != nil {
		return err
	}
	defer func() { _ = buffer.Free() }()
	copy(buffer.Bytes(), tables)
	return call(buffer.data, C.uint64_t(buffer.bytes))
}

// CheckTables checks tables and says what they are. ErrDamaged for what is no tables.
func CheckTables(tables []byte) (*CodecTablesInfo, error) {
	out := &CodecTablesInfo{structSize: C.sizeof_kvc_codec_tables_info_t}
	err := aligned(tables, func(data unsafe.Pointer, bytes C.uint64_t) error {
		return asError(C.kvc_codec_tables_check(data, bytes, (*C.kvc_codec_tables_info_t)(unsafe.Pointer(out))))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// SaveTables writes tables to a file, durably; a file that is there is replaced in one step.
func SaveTables(path string, tables []byte) error {
	if path == "" || strings.IndexByte(path, 0) >= 0 {
		return ErrArgument
	}
	var a arena
	defer a.free()
	name := a.str(path)
	return aligned(tables, func(data unsafe.Pointer, bytes C.uint64_t) error {
		e := newError()
		return refusal(C.kvc_codec_tables_save(name, data, bytes, e), e)
	})
}

// LoadTables reads tables from a file and checks them.
func LoadTables(path string) ([]byte, error) {
	if path == "" || strings.IndexByte(path, 0) >= 0 {
		return nil, ErrArgument
	}
	var a arena
	defer a.free()
	name := a.str(path)
	var bytes C.uint64_t
	e := newError()
	if err := refusal(C.kvc_codec_tables_file_bytes(name, &bytes, e), e); err != nil {
		return nil, err
	}
	buffer, err := NewBuffer(int(bytes))
	if err != nil {
		return nil, err
	}
	defer func() { _ = buffer.Free() }()
	if err := refusal(C.kvc_codec_tables_load(name, buffer.data, bytes, &bytes, e), e); err != nil {
		return nil, err
	}
	return append([]byte(nil), buffer.Bytes()[:bytes]...), nil
}
