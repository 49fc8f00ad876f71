// Command generate writes generated.go from include/kvcache.h: every constant, and the structs whose fields can be
// taken over as they are, with their descriptions.
//
//	go run ./internal/generate HEADER > generated.go
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"regexp"
	"strings"
)

// kind is a group of constants with a Go type of its own.
type kind struct {
	prefix string // of the C names
	name   string // prefix of the Go names
	goType string
	base   string
	doc    string
}

// kinds are tried in order, so longer prefixes come first.
var kinds = []kind{
	{"KVC_TIER_STATE_", "TierState", "TierState", "uint64", "says whether a file tier works."},
	{"KVC_TIER_", "Tier", "TierID", "uint32", "is a place where blocks live."},
	{"KVC_DTYPE_", "DType", "DType", "uint64", "is the type of an element of keys and values."},
	{"KVC_CODEC_", "Codec", "CodecID", "uint64", "is a way to encode keys and values."},
	{"KVC_POLICY_", "Policy", "Policy", "uint64", "says how victims are chosen."},
	{"KVC_HUGE_PAGES_", "HugePages", "HugePages", "uint64", "says whether the engine's memory is of huge pages."},
	{"KVC_CLOCK_", "Clock", "Clock", "uint64", "says where the engine's time comes from."},
	{"KVC_PREFAULT_", "Prefault", "Prefault", "uint64", "says when pages are touched for the first time."},
	{"KVC_ADMISSION_", "Admission", "Admission", "uint64", "says which blocks a file tier takes."},
	{"KVC_WRITE_", "Write", "WritePolicy", "uint64", "says when blocks are written to the first file tier."},
	{"KVC_DAMAGE_", "Damage", "Damage", "uint64", "says what opening does about a damaged file."},
	{"KVC_IO_", "IO", "IOEngine", "uint64", "says how the NVMe tier's file is read and written."},
	{"KVC_PREFETCH_", "Prefetch", "PrefetchKinds", "uint64", "says what is copied up ahead of its use; kinds add up."},
	{"KVC_MATCH_", "Match", "MatchFlags", "uint32", "are flags of Match and MatchEach."},
	{"KVC_COPY_", "Copy", "CopyFlags", "uint32", "are flags of what copies blocks."},
	{"KVC_ACQUIRE_", "Acquire", "AcquireFlags", "uint32", "are flags of Acquire."},
	{"KVC_PUT_", "Put", "PutFlags", "uint64", "are flags of PutInfo."},
	{"KVC_RETAIN_", "Retain", "RetainFlags", "uint32", "are flags of Retain."},
	{"KVC_OPERATION_", "Operation", "Operation", "uint32", "is a kind of operation that is timed."},
	{"KVC_OP_", "Op", "Opcode", "uint32", "says what an operation of a lane does."},
	{"KVC_EVENT_", "Event", "EventKind", "uint32", "says what happened to a block."},
	{"KVC_ORDER_", "Order", "Order", "uint64", "says how tokens and heads lie in a plane."},
	{"KVC_PLANES_", "Planes", "Planes", "uint64", "says how keys and values lie to each other."},
	{"KVC_ROPE_", "Rope", "Rope", "uint64", "is the rotary embedding that keys went through."},
}

// structure is a struct of the header that is written out in Go.
type structure struct {
	cName, goName string
	// mirror: the Go struct has the same bytes, and the library writes to it. Otherwise it is copied field by field.
	mirror bool
	// types of fields that are not plain uint64: a Go type; "bool"; "" to leave the field out; with a leading "=", a
	// declaration that code by hand copies.
	types map[string]string
}

var structures = []structure{
	{"kvc_geometry_t", "Geometry", true, map[string]string{"dtype": "DType"}},
	{"kvc_component_t", "Component", true, nil},
	{"kvc_plan_t", "Plan", true, nil},
	{"kvc_tier_t", "Tier", true, map[string]string{
		"state": "TierState", "codec_key": "CodecID", "codec_value": "CodecID"}},
	{"kvc_stats_t", "Stats", true, nil},
	{"kvc_capacity_t", "Capacity", true, nil},
	{"kvc_histogram_t", "Histogram", true, nil},
	{"kvc_block_t", "Block", true, nil},
	{"kvc_pin_t", "Pin", true, nil},
	{"kvc_ticket_t", "Ticket", true, nil},
	{"kvc_event_t", "Event", true, map[string]string{"kind": "EventKind", "tier": "TierID"}},
	{"kvc_pin_info_t", "PinInfo", true, nil},
	{"kvc_codec_description_t", "CodecDescription", true, nil},
	{"kvc_codec_info_t", "CodecInfo", true, map[string]string{"codec": "CodecID", "codec_before": "CodecID"}},
	{"kvc_codec_tables_info_t", "CodecTablesInfo", true, map[string]string{"rope": "Rope"}},
	{"kvc_codec_layer_t", "CodecLayer", false, map[string]string{"codec_key": "CodecID", "codec_value": "CodecID"}},
	{"kvc_codec_config_t", "CodecConfig", false, map[string]string{
		"geometry": "=Geometry Geometry", "codec_key": "CodecID", "codec_value": "CodecID", "key_mean": "bool",
		"layers_count": "", "layers": "=Layers []CodecLayer", "codec_tables": "=Tables []byte", "codec_tables_bytes": ""}},
	{"kvc_config_t", "Config", false, map[string]string{
		"policy": "Policy", "huge_pages": "HugePages", "memory_lock": "bool", "prefault": "Prefault", "clock": "Clock",
		"memory": "=Memory *Buffer", "memory_bytes": "", "geometries": "=Geometries []Geometry", "geometries_count": "",
		"nvme_path": "=NVMePath string", "nvme_admission": "Admission", "disk_path": "=DiskPath string",
		"disk_admission": "Admission", "write_policy": "WritePolicy", "damage": "Damage", "io_engine": "IOEngine",
		"file_overwrite": "bool", "nvme_codec": "=NVMeCodec *CodecConfig", "disk_codec": "=DiskCodec *CodecConfig",
		"codec_tables": "=CodecTables []byte", "codec_tables_bytes": "", "dedup": "bool", "tuning": "bool", "prefetch": "PrefetchKinds"}},
	{"kvc_put_info_t", "PutInfo", false, map[string]string{"parent": "=Parent *Key", "flags": "PutFlags"}},
	{"kvc_paged_t", "Paged", false, map[string]string{"order": "Order", "planes": "Planes",
		"keys": "=Keys []Memory", "keys_count": "", "values": "=Values []Memory", "values_count": ""}},
	{"kvc_codec_samples_t", "CodecSamples", false, map[string]string{"dtype": "DType", "rope": "Rope",
		"keys": "=Keys []Memory", "values": "=Values []Memory"}},
}

// words that are not written with one capital letter.
var words = map[string]string{
	"cpu": "CPU", "gpu": "GPU", "nvme": "NVMe", "io": "IO", "id": "ID", "os": "OS", "fd": "FD", "kv": "KV", "lru": "LRU",
	"lfu": "LFU", "arc": "ARC", "gdsf": "GDSF", "lz": "LZ", "vq": "VQ", "xc": "XC", "nhd": "NHD", "hnd": "HND",
	"dtype": "DType", "bf16": "BF16", "abi": "ABI", "s3fifo": "S3FIFO", "e4m3": "E4M3", "e5m2": "E5M2",
}

// camel turns snake_case, or CONSTANT_CASE, into CamelCase.
func camel(name string) string {
	var out strings.Builder
	for _, part := range strings.Split(strings.ToLower(name), "_") {
		if word, ok := words[part]; ok {
			out.WriteString(word)
		} else if part != "" {
			out.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return out.String()
}

var (
	defineRe = regexp.MustCompile(`(?s)/\* ((?:[^*]|\*[^/])*?)\s*\*/\n#define (KVC_[A-Z0-9_]+) ([^\n]+)\n`)
	structRe = regexp.MustCompile(`(?s)/\* ((?:[^*]|\*[^/])*?)\s*\*/\ntypedef struct (kvc_\w+) \{\n(.*?)\n\} kvc_\w+;`)
	fieldRe  = regexp.MustCompile(`(?s)/\* ((?:[^*]|\*[^/])*?)\s*\*/\n\s+([^;]*?)(\w+)(?:\[(\d+)\])?;`)
	leadRe   = regexp.MustCompile(`(?m)^\s*\*? ?`)
)

// functions: where the header's functions are in Go, if the name does not say it.
var functions = map[string]string{
	"kvc_events_read": "EventReader.Read", "kvc_tier_get": "Engine.Tier", "kvc_codec_encode": "Codec.Encode",
	"kvc_codec_open": "OpenCodec", "kvc_release": "View.Release", "kvc_commit": "Reservation.Commit",
	"kvc_wait": "Lane.Wait", "kvc_reap": "Lane.Reap", "kvc_config_init": "ConfigDefaults",
}

var (
	initialiseRe = regexp.MustCompile(` ?Initialise with [^.]*\.`)
	boolRe       = regexp.MustCompile(`^1 to (.*?), else 0\. (.*)Default 0\.$`)
	optionalRe   = regexp.MustCompile(`\bNULL\b`)
	borrowedRe   = regexp.MustCompile(` (Borrowed|Copied|Kept until the completion)\.`)
	wordRe       = regexp.MustCompile(`KVC_[A-Z0-9_]+|\bkvc_\w+|\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b`)
)

// comment is the text of a C comment, in the words of Go, as comment lines of at most 120 characters.
func comment(indent, text string) string {
	var out strings.Builder
	lines := strings.Split(text, "\n")
	for i := 1; i < len(lines); i++ {
		lines[i] = leadRe.ReplaceAllString(lines[i], "")
	}
	for i, paragraph := range strings.Split(strings.Join(lines, "\n"), "\n\n") {
		paragraph = strings.Join(strings.Fields(paragraph), " ")
		paragraph = borrowedRe.ReplaceAllString(initialiseRe.ReplaceAllString(paragraph, ""), "")
		paragraph = boolRe.ReplaceAllString(paragraph, "Whether to $1. ${2}Default false.")
		paragraph = wordRe.ReplaceAllStringFunc(optionalRe.ReplaceAllString(paragraph, "nil"), goToken)
		if paragraph == "" {
			continue
		}
		if i > 0 {
			out.WriteString(indent + "//\n")
		}
		line := indent + "//"
		for _, word := range strings.Fields(paragraph) {
			if len(line)+1+len(word) > 120-3*len(indent) {
				out.WriteString(line + "\n")
				line = indent + "//"
			}
			line += " " + word
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}

// constants, and fields of structs: Go names by C names.
var constants, fields = map[string]string{}, map[string]string{}

func goToken(token string) string {
	if name, ok := constants[token]; ok {
		return name
	}
	if name, ok := functions[token]; ok {
		return name
	}
	for _, s := range structures {
		if s.cName == token {
			return s.goName
		}
	}
	for _, k := range kinds {
		if token == k.prefix {
			return k.name
		}
	}
	if name, ok := fields[token]; ok {
		return name
	}
	if strings.HasPrefix(token, "kvc_") && !strings.HasSuffix(token, "_t") {
		return camel(strings.TrimPrefix(token, "kvc_"))
	}
	return token
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "generate: "+format+"\n", arguments...)
	os.Exit(1)
}

type constant struct{ cName, goName, goType, doc string }

// readConstants names every constant of the header, except the initializers and the header's guard.
func readConstants(header string) []constant {
	var all []constant
	for _, m := range defineRe.FindAllStringSubmatch(header, -1) {
		c := constant{cName: m[2], doc: m[1]}
		c.goName = camel(strings.TrimPrefix(c.cName, "KVC_"))
		counts := strings.HasSuffix(c.cName, "_COUNT") || strings.HasSuffix(c.cName, "_MAX")
		number := strings.Trim(m[3], "()")
		switch {
		case c.cName == "KVC_OK":
			c.goName, c.goType = "OK", "Status"
		case strings.HasPrefix(c.cName, "KVC_E_"):
			c.goName, c.goType = "Err"+camel(strings.TrimPrefix(c.cName, "KVC_E_")), "Status"
		case isStatus[c.cName]:
			c.goName, c.goType = "Err"+c.goName, "Status"
		case !counts:
			for _, k := range kinds {
				if strings.HasPrefix(c.cName, k.prefix) {
					c.goName, c.goType = k.name+camel(strings.TrimPrefix(c.cName, k.prefix)), k.goType
					break
				}
			}
		}
		if number == "" {
			fail("%s has no value", c.cName)
		}
		constants[c.cName] = c.goName
		all = append(all, c)
	}
	return all
}

// isStatus has the statuses that are no errors: they have no prefix of their own.
var isStatus = map[string]bool{"KVC_MISS": true, "KVC_PENDING": true, "KVC_AGAIN": true, "KVC_EXISTS": true,
	"KVC_CANCELLED": true, "KVC_TIMEOUT": true}

func writeConstants(out *bytes.Buffer, all []constant) {
	out.WriteString("// Statuses.\nconst (\n")
	for _, c := range all {
		if c.goType == "Status" {
			fmt.Fprintf(out, "%s\t%s Status = C.%s\n", comment("\t", c.doc), c.goName, c.cName)
		}
	}
	out.WriteString(")\n\n// statusTexts says what statuses mean.\nvar statusTexts = map[Status]string{\n")
	for _, c := range all {
		if c.goType == "Status" {
			text := strings.Join(strings.Fields(leadRe.ReplaceAllString(c.doc, "")), " ")
			text, _, _ = strings.Cut(text, ". ")
			text = strings.TrimSuffix(strings.ToLower(text[:1])+text[1:], ".")
			fmt.Fprintf(out, "\t%s: %q,\n", c.goName, text)
		}
	}
	out.WriteString("}\n\n// Numbers.\nconst (\n")
	for _, c := range all {
		if c.goType == "" {
			fmt.Fprintf(out, "%s\t%s = C.%s\n", comment("\t", c.doc), c.goName, c.cName)
		}
	}
	out.WriteString(")\n\n")
	for _, k := range kinds {
		fmt.Fprintf(out, "// %s %s\ntype %s %s\n\n", k.goType, k.doc, k.goType, k.base)
		fmt.Fprintf(out, "// Values of %s.\nconst (\n", k.goType)
		for _, c := range all {
			if c.goType == k.goType {
				fmt.Fprintf(out, "%s\t%s %s = C.%s\n", comment("\t", c.doc), c.goName, c.goType, c.cName)
			}
		}
		out.WriteString(")\n\n")
	}
}

// goTypes are the Go types of those C types that mirrored structs consist of.
var goTypes = map[string]string{"uint64_t": "uint64", "uint32_t": "uint32", "int64_t": "int64", "double": "float64",
	"kvc_key_t": "Key", "kvc_block_t": "Block", "kvc_pin_t": "Pin", "kvc_component_t": "Component", "char": "byte"}

func writeStruct(out *bytes.Buffer, s structure, doc, body string) {
	fmt.Fprintf(out, "%stype %s struct {\n", comment("", s.goName+": "+doc), s.goName)
	var checks, fill, take bytes.Buffer
	for _, m := range fieldRe.FindAllStringSubmatch(body, -1) {
		doc, cType, cName, count := m[1], strings.TrimSpace(m[2]), m[3], m[4]
		name := camel(cName)
		override, overridden := s.types[cName]
		goType, known := goTypes[cType]
		if overridden && override != "" && override != "bool" && override[0] != '=' {
			goType = override
		}
		switch {
		case overridden && override == "":
			continue
		case overridden && override[0] == '=':
			fmt.Fprintf(out, "%s\t%s\n", comment("\t", doc), override[1:])
			continue
		case cName == "struct_size":
			if s.mirror {
				out.WriteString("\tstructSize uint64\n")
			}
			continue
		case override == "bool":
			fmt.Fprintf(out, "%s\t%s bool\n", comment("\t", doc), name)
			fmt.Fprintf(&fill, "\tp.%s = bit(s.%s)\n", cName, name)
			fmt.Fprintf(&take, "\ts.%s = p.%s != 0\n", name, cName)
			continue
		case !known:
			fail("%s.%s has the type %q, which nothing here knows", s.cName, cName, cType)
		case cType == "char":
			name = strings.ToLower(name[:1]) + name[1:]
			if strings.HasPrefix(cName, "io_") {
				name = "ioName"
			}
			fmt.Fprintf(out, "\t%s [%s]byte\n", name, count)
		case count != "":
			fmt.Fprintf(out, "%s\t%s [%s]%s\n", comment("\t", doc), name, count, goType)
		default:
			fmt.Fprintf(out, "%s\t%s %s\n", comment("\t", doc), name, goType)
			fmt.Fprintf(&fill, "\tp.%s = C.%s(s.%s)\n", cName, cType, name)
			fmt.Fprintf(&take, "\ts.%s = %s(p.%s)\n", name, goType, cName)
		}
		fmt.Fprintf(&checks, "\t_ = [1]byte{}[unsafe.Offsetof(%s{}.%s)-unsafe.Offsetof(C.%s{}.%s)]\n",
			s.goName, name, s.cName, cName)
	}
	out.WriteString("}\n\n")
	if s.mirror {
		fmt.Fprintf(out, "// The bytes of %s are those of %s; a difference does not compile.\nvar (\n", s.goName, s.cName)
		fmt.Fprintf(out, "\t_ = [1]byte{}[unsafe.Sizeof(%s{})-unsafe.Sizeof(C.%s{})]\n", s.goName, s.cName)
		fmt.Fprintf(out, "%s)\n\n", checks.String())
		return
	}
	out.WriteString("// fill copies the plain fields into a struct of the library.\n")
	fmt.Fprintf(out, "func (s *%s) fill(p *C.%s) {\n%s}\n\n", s.goName, s.cName, fill.String())
	if s.goName == "Config" {
		out.WriteString("// take copies the plain fields out of a struct of the library.\n")
		fmt.Fprintf(out, "func (s *%s) take(p *C.%s) {\n%s}\n\n", s.goName, s.cName, take.String())
	}
}

func main() {
	if len(os.Args) != 2 {
		fail("usage: generate include/kvcache.h > generated.go")
	}
	header, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail("%v", err)
	}
	constantsAll := readConstants(string(header))
	var out bytes.Buffer
	out.WriteString("// Code generated by internal/generate from include/kvcache.h; DO NOT EDIT.\n\npackage kvcache\n\n" +
		"// #include <kvcache.h>\nimport \"C\"\nimport \"unsafe\"\n\n")
	found := map[string][]string{}
	for _, m := range structRe.FindAllStringSubmatch(string(header), -1) {
		found[m[2]] = m
		for _, field := range fieldRe.FindAllStringSubmatch(m[3], -1) {
			fields[field[3]] = camel(field[3])
		}
	}
	writeConstants(&out, constantsAll)
	for _, s := range structures {
		m, ok := found[s.cName]
		if !ok {
			fail("the header has no struct %s", s.cName)
		}
		writeStruct(&out, s, m[1], m[3])
	}
	source, err := format.Source(out.Bytes())
	if err != nil {
		os.Stdout.Write(out.Bytes())
		fail("%v", err)
	}
	os.Stdout.Write(source)
}
