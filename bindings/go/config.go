package kvcache

// #include "shim.h"
import "C"
import (
	"strings"
	"unsafe"
)

// c is the geometry as the library reads it.
func (g Geometry) c(a *arena) *C.kvc_geometry_t {
	p := (*C.kvc_geometry_t)(a.room(1, C.sizeof_kvc_geometry_t))
	g.structSize = C.sizeof_kvc_geometry_t
	*p = *(*C.kvc_geometry_t)(unsafe.Pointer(&g))
	return p
}

// BlockBytes computes the bytes of a block of this geometry, for BlockBytes of a Config. ErrConfig when a dimension is
// outside its range or the block would have more than 1 GiB.
func (g Geometry) BlockBytes() (uint64, error) {
	var bytes C.uint64_t
	g.structSize = C.sizeof_kvc_geometry_t
	status := C.kvc_geometry_block_bytes((*C.kvc_geometry_t)(unsafe.Pointer(&g)), &bytes)
	return uint64(bytes), asError(status)
}

// c is the configuration as the library reads it. Its tables stay where they are: tables says whether to copy them to
// a multiple of 64 bytes.
func (s *CodecConfig) c(a *arena, withGeometry bool) *C.kvc_codec_config_t {
	p := (*C.kvc_codec_config_t)(a.room(1, C.sizeof_kvc_codec_config_t))
	p.struct_size = C.sizeof_kvc_codec_config_t
	s.fill(p)
	if withGeometry {
		p.geometry = s.Geometry.c(a)
	}
	p.layers_count = C.uint64_t(len(s.Layers))
	for i := range s.Layers {
		if i == len(p.layers) {
			break // The library refuses the count.
		}
		s.Layers[i].fill(&p.layers[i])
	}
	return p
}

// c is the configuration as the library reads it, all of it in memory of C.
func (s *Config) c(a *arena) (*C.kvc_config_t, error) {
	if strings.IndexByte(s.NVMePath, 0) >= 0 || strings.IndexByte(s.DiskPath, 0) >= 0 {
		return nil, &ConfigError{Status: ErrConfig, Field: "nvme_path, disk_path", Message: "a path has a NUL byte in it"}
	}
	p := (*C.kvc_config_t)(a.room(1, C.sizeof_kvc_config_t))
	p.struct_size = C.sizeof_kvc_config_t
	s.fill(p)
	if s.Memory != nil {
		memory := s.Memory.Memory()
		if memory.data == nil {
			return nil, ErrStale
		}
		p.memory, p.memory_bytes = memory.data, C.uint64_t(memory.bytes)
	}
	if len(s.Geometries) > 0 {
		first := a.room(uintptr(len(s.Geometries)), C.sizeof_kvc_geometry_t)
		all := unsafe.Slice((*Geometry)(first), len(s.Geometries))
		copy(all, s.Geometries)
		for i := range all {
			all[i].structSize = C.sizeof_kvc_geometry_t
		}
		p.geometries, p.geometries_count = (*C.kvc_geometry_t)(first), C.uint64_t(len(all))
	}
	p.nvme_path, p.disk_path = a.str(s.NVMePath), a.str(s.DiskPath)
	if s.NVMeCodec != nil {
		p.nvme_codec = s.NVMeCodec.c(a, false)
	}
	if s.DiskCodec != nil {
		p.disk_codec = s.DiskCodec.c(a, false)
	}
	p.codec_tables, p.codec_tables_bytes = a.copied(s.CodecTables), C.uint64_t(len(s.CodecTables))
	return p, nil
}

// ConfigDefaults is a configuration with every default written out, to be looked at and changed one by one.
// BlockBytes and CPUBytes are zero: they have no default.
func ConfigDefaults() Config {
	var a arena
	defer a.free()
	p := (*C.kvc_config_t)(a.room(1, C.sizeof_kvc_config_t))
	p.struct_size = C.sizeof_kvc_config_t
	must(C.kvc_config_init(p))
	var config Config
	config.take(p)
	return config
}

// ComputePlan computes the exact bytes of everything that an engine of this configuration would ever hold. It obtains
// nothing. A *ConfigError says what is wrong with a configuration.
func ComputePlan(config *Config) (*Plan, error) {
	var a arena
	defer a.free()
	p, err := config.c(&a)
	if err != nil {
		return nil, err
	}
	plan := &Plan{structSize: C.sizeof_kvc_plan_t}
	e := newError()
	if err := refusal(C.kvc_plan_compute(p, (*C.kvc_plan_t)(unsafe.Pointer(plan)), e), e); err != nil {
		return nil, err
	}
	return plan, nil
}

// Name is what the component is: "slots".
func (c *Component) Name() string {
	return text(c.name[:])
}

// Each are the components that the plan has, in the order in which they lie in memory.
func (p *Plan) Each() []Component {
	return p.Components[:p.ComponentsCount]
}
